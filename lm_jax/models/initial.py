"""How large the initial values of kernels are, by the role of each.

A choice is a value that gives a standard deviation for a role, the factor on the
scores of attention and the factor on the logits.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from lm_jax.bounds import SIZES, within

__all__ = [
    "GPT2",
    "FanIn",
    "Initial",
    "MuP",
    "Normal",
    "ZeroProjections",
    "mup_rates",
]

Role = Literal["embedding", "hidden", "residual", "lm_head"]


@dataclass(frozen=True)
class Normal:
    """All kernels alike (Devlin et al. 2019).

    Attributes:
        deviation: standard deviation.
    """

    deviation: float = within("[0, inf)", 0.02)

    def problems(self) -> Iterator[str]:
        """Say, in a sentence each, why these fields can't be."""
        yield from ()

    def std(self, role: Role, inputs: int, width: int, layers: int) -> float:
        """Return the standard deviation of a kernel.

        Args:
            role: "residual" writes into the residual stream, "hidden" is any
                other kernel of a block.
            inputs: width of what the kernel multiplies.
            width: of the residual stream.
            layers: depth of the stack.
        """
        return self.deviation

    def attention_scale(self, dim: int) -> float:
        """Return the factor on the scores of heads of this width."""
        return dim**-0.5

    def logit_scale(self, width: int) -> float:
        """Return the factor on the logits."""
        return 1.0


@dataclass(frozen=True)
class GPT2(Normal):
    """The sum of 2 * layers writes keeps its variance (Radford et al. 2019, 2.3)."""

    def std(self, role, inputs, width, layers):
        """Divide what writes into the residual stream by sqrt(2 * layers)."""
        depth = 2 * layers if role == "residual" else 1
        return self.deviation / depth**0.5


@dataclass(frozen=True)
class FanIn(Normal):
    """Hidden kernels keep the variance of what they multiply (LeCun et al. 1998).

    What writes into the residual stream is divided by sqrt(2 * layers), as in
    GPT-2; ``deviation`` is that of the embedding and of lm_head.
    """

    def std(self, role, inputs, width, layers):
        """Divide by the root of the inputs."""
        if role in ("embedding", "lm_head"):
            return self.deviation
        return (inputs * (2 * layers if role == "residual" else 1)) ** -0.5


@dataclass(frozen=True)
class ZeroProjections(Normal):
    """What writes into the residual stream is zero: each block starts as nothing.

    Zhang et al. 2019 (Fixup) do so with the last layer of each half.
    """

    def std(self, role, inputs, width, layers):
        """Return zero for the role "residual"."""
        return 0.0 if role == "residual" else self.deviation


@dataclass(frozen=True)
class MuP(GPT2):
    """Sizes that let one learning rate serve all widths (Yang et al. 2022, table 8).

    At ``base_width`` it is GPT2. The rates of Adam belong to it: `mup_rates`.

    Attributes:
        base_width: the width whose hyperparameters are taken over.
        base_dim: the width of a head at that width; scores are divided by the
            width of a head, not by its root.
    """

    base_width: int = within(SIZES, 256)
    base_dim: int = within(SIZES, 64)
    _: KW_ONLY
    deviation: float = within("[0, inf)", 0.02)

    def std(self, role, inputs, width, layers):
        """Divide kernels of blocks by the root of how much wider the model is."""
        std = super().std(role, inputs, width, layers)
        if role in ("embedding", "lm_head"):
            return std
        return std * (self.base_width / width) ** 0.5

    def attention_scale(self, dim):
        """Return 1 / dim, as large as 1 / sqrt(dim) at the base width."""
        return self.base_dim**0.5 / dim

    def logit_scale(self, width):
        """Return the base width over the width."""
        return self.base_width / width


Initial = Normal | GPT2 | FanIn | ZeroProjections | MuP


# Hidden kernels, also those of an Encoder's head and pooler.
_SCALED = "(block.*|^head/|^pooler/)kernel$"
# And those of what stands over a body. A decoder's recipe doesn't name them.
_SCALED_OVER = "(block.*|^head/|^pooler/|^class_head/|^token_head/)kernel$"


def mup_rates(model: Any, base_width: int) -> tuple[tuple[str, float], ...]:
    """Rates for an optimizer like Adam, of a model with ``MuP(base_width)``.

    Kernels of blocks, of an Encoder's ends, and of a head over a body learn at
    base_width / width times the rate, all else at the whole (Yang et al. 2022, table 8;
    a head's logits are not divided by the width, so its rate is: table 3). Pass them
    on: ``AdamW(rates=mup_rates(...))``. Learning rate times weight decay is the same at
    all widths, as the package mup has it; ``rated_decay=True`` lets it shrink too.
    """
    body, scaled = _read_by(model)
    return ((scaled, base_width / body.width), (".*", 1.0))


def _read_by(model: Any) -> tuple[Any, str]:
    """What has the width of a model, and an expression of what is scaled by it."""
    body = getattr(model, "body", None)
    return (model, _SCALED) if body is None else (body, _SCALED_OVER)


def stale_rates(model: Any, rates: tuple[tuple[str, float], ...]) -> str | None:
    """Say where an optimizer's rates are those of `mup_rates` for another width."""
    body, scaled = _read_by(model)
    initial = getattr(body, "initial", None)
    given = dict(rates).get(scaled)
    if not isinstance(initial, MuP) or given is None:
        return None
    wanted = initial.base_width / body.width
    if given == wanted:
        return None
    return (
        f"optimizer.rates are of another width: they give hidden kernels {given:g}, "
        f"and base_width / width is {initial.base_width} / {body.width} = {wanted:g}. "
        "Change the width in the experiment's file, where mup_rates(model, "
        f"{initial.base_width}) follows it."
    )
