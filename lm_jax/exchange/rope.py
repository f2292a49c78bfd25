"""Rotary positions and windows of a config.json, and ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_jax.errors import UserError, nearest
from lm_jax.exchange.fields import Config, Unheld
from lm_jax.models import (
    Alternating,
    Full,
    LinearScaling,
    Llama3Scaling,
    Rotary,
    SlidingWindow,
    Unscaled,
    YaRN,
)

# Each kind of scaling: ours, and its fields by their names.
_SCALINGS: dict[str, tuple[type, dict[str, str]]] = {
    "default": (Unscaled, {}),
    "linear": (LinearScaling, {"factor": "factor"}),
    "llama3": (
        Llama3Scaling,
        {
            "factor": "factor",
            "low_freq_factor": "low",
            "high_freq_factor": "high",
            "original_max_position_embeddings": "length",
        },
    ),
    "yarn": (
        YaRN,
        {
            "factor": "factor",
            "original_max_position_embeddings": "length",
            "beta_fast": "fast",
            "beta_slow": "slow",
            "attention_factor": "attention_factor",
        },
    ),
}


@dataclass(frozen=True)
class RotaryPositions:
    """Rotary positions, as far as our models know them.

    Files have ``rope_parameters``, or those before transformers 5 ``rope_theta`` and
    ``rope_scaling``; written is what both versions read.

    Attributes:
        base: where a file says none.
        base_key: of the base before version 5.
        fraction_key: of the share of a head that turns before version 5; None is all.
        fraction: where a file says none.
    """

    base: float = 10000.0
    base_key: str = "rope_theta"
    fraction_key: str | None = None
    fraction: float = 1.0

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read base, share and scaling."""
        base = config.take(self.base_key, self.base)
        share = config.take(self.fraction_key, None) if self.fraction_key else None
        share = self.fraction if share is None else share
        old, new = config.take("rope_scaling", None), config.take(_KEY, None)
        key = _KEY if new else "rope_scaling"
        rope = dict(new or old or {})
        base = rope.pop("rope_theta", base)
        share = rope.pop("partial_rotary_factor", share)
        if not self.fraction_key and share != 1.0:
            raise UserError(
                f"{config.path}: {key}.partial_rotary_factor={share} is not read for "
                "this architecture, whose heads turn whole."
            )
        scaling = _scaling(config, key, rope, ours["context"])
        return {"positions": Rotary(float(base), float(share), scaling)}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write them as both versions read them."""
        positions = ours["positions"]
        if not isinstance(positions, Rotary):
            raise Unheld("positions")
        if positions.local_base is not None:
            raise Unheld("positions.local_base")
        if positions.fraction != 1.0 and self.fraction_key is None:
            raise Unheld("positions.fraction")
        found: dict[str, Any] = {self.base_key: positions.base}
        if self.fraction_key:
            found[self.fraction_key] = positions.fraction
        if positions.scaling != Unscaled():
            found["rope_scaling"] = _their_scaling(positions.scaling)
        return found


_KEY = "rope_parameters"


def _scaling(config: Config, key: str, rope: dict[str, Any], context: int) -> Any:
    """Our scaling from what is left of the parameters.

    Raises:
        UserError: it is of another kind, or says what ours doesn't know.
    """
    name = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    rope.pop("type", None)
    if name not in _SCALINGS:
        raise UserError(
            f"{config.path}: {key}.rope_type={name!r} is a scaling of rotary positions "
            f"that our models lack.{nearest(str(name), _SCALINGS)}"
        )
    kind, fields = _SCALINGS[name]
    if "original_max_position_embeddings" in fields:
        rope.setdefault("original_max_position_embeddings", context)
    for needed in ("factor", "low_freq_factor", "high_freq_factor"):
        if needed in fields and rope.get(needed) is None:
            raise UserError(
                f"{config.path}: {key} of the kind {name!r} doesn't say '{needed}'."
            )
    left = [f"{k}={v!r}" for k, v in rope.items() if k not in fields and v]
    # What YaRN does when these are not there.
    left = [each for each in left if each != "truncate=True"]
    if left:
        raise UserError(
            f"{config.path}: {key} of the kind {name!r} says {', '.join(left)}, which "
            "our models don't know."
        )
    given = {fields[k]: v for k, v in rope.items() if k in fields and v is not None}
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"{config.path}: {key}: {error}") from error


def _their_scaling(scaling: Any) -> dict[str, Any]:
    """What ``rope_scaling`` says of a scaling of ours."""
    for name, (kind, fields) in _SCALINGS.items():
        if type(scaling) is kind:
            said = {k: getattr(scaling, v) for k, v in fields.items()}
            return {"rope_type": name} | {k: v for k, v in said.items() if v}
    raise Unheld("positions.scaling")


@dataclass(frozen=True)
class Windows:
    """Which layers see a window of the tokens before.

    Attributes:
        window: where a file doesn't say; None is no window.
        switch: key that must be true, else the window is of no use; None has none.
        every: each such layer sees all where a file has no ``layer_types``; None is
            no layer.
        typed: whether ``layer_types`` is a key.
    """

    window: int | None
    switch: str | None = None
    every: int | None = None
    typed: bool = True

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read the window, and the kinds of layers."""
        window = config.take("sliding_window", self.window)
        on = config.take(self.switch, False) if self.switch else True
        kinds = config.take("layer_types", None) if self.typed else None
        first = config.values.get("max_window_layers", 28) if self.switch else 0
        if not window or not on:
            if kinds and set(kinds) != {"full_attention"}:
                raise config.refuse("layer_types", ["full_attention"])
            return {"attention": Full()}
        if not kinds:
            kinds = [
                "full_attention" if self._whole(i, first) else "sliding_attention"
                for i in range(ours["layers"])
            ]
        return {"attention": _pattern(config, kinds, int(window))}

    def _whole(self, layer: int, first: int) -> bool:
        each = self.every is not None and layer % self.every == self.every - 1
        return each or layer < first

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write them."""
        attention, layers = ours["attention"], ours["layers"]
        known = (
            (Full, SlidingWindow, Alternating) if self.typed else (Full, SlidingWindow)
        )
        if type(attention) not in known:
            raise Unheld("attention")
        window = getattr(attention, "window", None)
        found: dict[str, Any] = {"sliding_window": window}
        if self.switch:
            found |= {self.switch: window is not None, "max_window_layers": 0}
        if self.typed:
            found["layer_types"] = [
                "full_attention" if attention.sees_all(i) else "sliding_attention"
                for i in range(layers)
            ]
        return found


def _pattern(config: Config, kinds: Sequence[str], window: int) -> Any:
    """Our pattern of layers of these kinds.

    Raises:
        UserError: ours have none.
    """
    whole = [kind == "full_attention" for kind in kinds]
    known = {"full_attention", "sliding_attention"}
    if set(kinds) <= known:
        if all(whole):
            return Full()
        if not any(whole):
            return SlidingWindow(window)
        every = whole.index(True) + 1
        if whole == [i % every == every - 1 for i in range(len(whole))]:
            return Alternating(window, every)
    raise UserError(
        f"{config.path}: layer_types={list(kinds)!r}, and layers of ours see all, or a "
        "window, or each n-th sees all and the others a window."
    )
