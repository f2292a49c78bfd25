"""An architecture of transformers: the fields and the arrays of it, both ways."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lm_jax.data import Frame
from lm_jax.errors import UserError
from lm_jax.exchange.fields import Config, Unheld
from lm_jax.exchange.rows import Row
from lm_jax.models import (
    Encoder,
    EncoderDecoder,
    EncoderFields,
    MoE,
    Normal,
    Transformer,
)
from lm_jax.models.stack import unrolled
from lm_jax.selectors import path_name

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """What stands in files of one architecture, beside our model of it.

    Attributes:
        name: "model_type" of its config.json.
        heads: the class of transformers with logits, "architectures" there.
        model: ours.
        constants: fields of ours that are the same in all such models.
        fields: what reads and writes the others, in this order.
        rows: the arrays.
        base: what all names but those of the head begin with; a file of the body
            alone leaves it out.
        renamed: (expression, replacement) pairs for names of older files.
        copies: arrays that may stand there beside the one that they equal.
        derived: expressions of arrays that follow from config.json.
        left: expressions of arrays that ours have no place for, with what they are.
        optional: beginnings of parameters of ours that a file may be without.
        frame: gives from config.json what stands around sources and targets.
    """

    name: str
    heads: str
    model: type[Transformer] | type[Encoder] | type[EncoderDecoder]
    constants: Mapping[str, Any]
    fields: Sequence[Any]
    rows: Sequence[Row]
    base: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    frame: Callable[[Mapping[str, Any]], Frame] | None = None

    def read(self, config: Config) -> tuple[Any, int]:
        """Make our model from a config.json.

        Returns:
            The model, and the tokens that it may see.

        Raises:
            UserError: it says what our models don't know; with the key.
        """
        ours: dict[str, Any] = dict(self.constants)
        for each in self.fields:
            ours |= each.read(config, ours)
        config.check_all_read()
        context = ours.pop("context")
        model = self.model(**ours)
        if problems := list(model.problems()):
            raise UserError(f"{config.path}: {problems[0]}")
        return model, context

    def write(self, model: Any, context: int) -> dict[str, Any]:
        """Say in a config.json what a model of ours is.

        Raises:
            Unheld: it can't; with the name of the field.
        """
        if type(model) is not self.model:
            raise Unheld(f"{type(model).__name__}")
        model = canonical(model)
        ours = {f.name: getattr(model, f.name) for f in fields(model) if f.init}
        ours["context"] = context
        found: dict[str, Any] = {}
        for each in self.fields:
            found |= each.write(ours)
        back, _ = self.read(Config(found, Path("config.json"), self._names(model)))
        if differing := list(differences(model, canonical(back))):
            raise Unheld(", ".join(differing))
        return {"architectures": [self.heads], "model_type": self.name, **found}

    def _names(self, model: Any) -> list[str]:
        """Names of the arrays of the logits, by which some files are read."""
        there = {"lm_head/kernel": not model.tied, "lm_head_bias": model.logit_bias}
        rows = [row for row in self.rows if there.get(row.ours[0])]
        return [name for row in rows for name in row.theirs]


def canonical(model: Any) -> Any:
    """The same model with all that follows from its fields written out.

    What counts in training alone is as if it were left out.
    """
    config = model.config
    epsilon = 1e-5 if model.norm == "layer" else 1e-6
    scale = model.logit_scale
    scale = model.initial.logit_scale(model.width) if scale is None else scale
    changes = {
        "kv_heads": config.groups,
        "head_dim": config.dim,
        "attention_scale": config.score_scale,
        "norm_epsilon": model.norm_epsilon or epsilon,
        "qkv_bias": model.use_bias if model.qkv_bias is None else model.qkv_bias,
        "logit_scale": scale,
        "feedforward": _plain_feedforward(model.feedforward, model.width),
        "initial": Normal(),
        "dropout": 0.0,
        "dtype": "float32",
        "scan": False,
        "remat": "none",
        "attention_form": "auto",
    }
    if isinstance(model, EncoderDecoder):
        encoder = model.encoder_config
        changes["encoder"] = EncoderFields(
            encoder.layers,
            encoder.attention,
            _plain_feedforward(encoder.feedforward, model.width),
        )
    return model.clone(**changes)


def _plain_feedforward(choice: Any, width: int) -> Any:
    """A feed-forward with the ratio that it really has."""
    plain = replace(choice, ratio=choice.hidden(width) / width)
    return replace(plain, balance=0.0) if isinstance(plain, MoE) else plain


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Name the fields in which two values differ, by more than rounding."""
    if is_dataclass(one) and type(one) is type(other):
        for each in fields(one):
            if each.name not in ("parent", "name"):
                pair = getattr(one, each.name), getattr(other, each.name)
                yield from differences(*pair, f"{path}.{each.name}".lstrip("."))
    elif isinstance(one, float) and isinstance(other, float):
        if not math.isclose(one, other, rel_tol=1e-6):
            yield path
    elif one != other:
        yield path


@functools.lru_cache(maxsize=8)
def shapes_of(model: Any) -> Shapes:
    """The shapes of all parameters that a model can have, by path."""
    tokens = jnp.zeros((1, 1), jnp.int32)

    def used(model: Any) -> Any:
        if isinstance(model, EncoderDecoder):
            return model(tokens, source=tokens)
        hidden, _ = model.features(tokens)
        pooled = model.pooled(hidden) if isinstance(model, Encoder) else None
        return model.logits(hidden), pooled

    made = jax.eval_shape(
        lambda: unrolled(model).init(jax.random.key(0), method=used)["params"]
    )
    leaves = jax.tree_util.tree_leaves_with_path(made)
    return {path_name(path): leaf.shape for path, leaf in leaves}
