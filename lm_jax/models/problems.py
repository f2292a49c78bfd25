"""What is wrong with the fields of a model, in one sentence each."""

from collections.abc import Iterator
from typing import Any, get_args

from lm_jax.models.block import NormAt, mixer_of
from lm_jax.models.feedforward import ACTIVATIONS
from lm_jax.models.gated_linear import GatedLinear
from lm_jax.models.initial import MuP
from lm_jax.models.moe import MoE
from lm_jax.models.norms import NORMS
from lm_jax.models.patterns import Alternating, BlockLocal, Full, SlidingWindow
from lm_jax.models.positions import ALiBi, Relative, Rotary


def block_problems(model: Any) -> Iterator[str]:
    """Say why the fields of a stack of blocks can't go together.

    Args:
        model: has ``layers``, ``width`` and the fields of a `Block`.
    """
    sizes = list(_size_problems(model))
    yield from sizes
    if not sizes:
        yield from _position_problems(model)
    yield from _name_problems(model)
    yield from _attention_problems(model)
    yield from _feedforward_problems(model)
    if not 0 <= model.dropout < 1:
        yield f"model.dropout={model.dropout} is not in [0, 1)."
    if (
        isinstance(model.initial, MuP)
        and min(model.initial.base_width, model.initial.base_dim) < 1
    ):
        yield "model.initial.base_width and model.initial.base_dim must be 1 or more."


def _size_problems(model: Any) -> Iterator[str]:
    if min(model.layers, model.heads, model.width) < 1:
        yield "model.layers, model.heads and model.width must be 1 or more."
        return
    if model.width % model.heads:
        fits = [n for n in range(1, model.width + 1) if model.width % n == 0]
        near = min(fits, key=lambda n: abs(n - model.heads))
        yield (
            f"model.heads={model.heads} doesn't divide model.width={model.width}. "
            f"The nearest that does: {near}."
        )
        return
    kv_heads = model.heads if model.kv_heads is None else model.kv_heads
    if kv_heads < 1 or model.heads % kv_heads:
        yield f"model.kv_heads={kv_heads} doesn't divide model.heads={model.heads}."


def _position_problems(model: Any) -> Iterator[str]:
    dim, positions = model.width // model.heads, model.positions
    if isinstance(positions, Rotary) and dim % 2:
        yield (
            f"Rotary positions turn pairs, and a head is {dim} wide (model.width "
            f"/ model.heads). Choose an even quotient."
        )
    if not isinstance(positions, Relative):
        return
    if positions.buckets < 4 or positions.buckets % 2:
        yield f"model.positions.buckets={positions.buckets} must be even, 4 or more."
    elif positions.distance <= positions.buckets // 2:
        yield (
            f"model.positions.distance={positions.distance} must be more than half of "
            f"model.positions.buckets={positions.buckets}."
        )


def _name_problems(model: Any) -> Iterator[str]:
    named = (
        ("norm", model.norm, tuple(NORMS)),
        ("norm_at", model.norm_at, get_args(NormAt)),
        ("feedforward.activation", model.feedforward.activation, tuple(ACTIVATIONS)),
    )
    for field, name, names in named:
        if name not in names:
            known = ", ".join(f"'{n}'" for n in names)
            yield f"model.{field}='{name}' is none of {known}."


def _attention_problems(model: Any) -> Iterator[str]:
    pattern = model.attention
    if isinstance(pattern, SlidingWindow | Alternating) and pattern.window < 1:
        yield f"model.attention.window={pattern.window} must be 1 or more."
    if isinstance(pattern, BlockLocal) and pattern.block < 1:
        yield f"model.attention.block={pattern.block} must be 1 or more."
    if isinstance(pattern, Alternating) and pattern.every < 1:
        yield f"model.attention.every={pattern.every} must be 1 or more."
    for field in ("softcap", "logit_softcap"):
        cap = getattr(model, field, None)
        if cap is not None and not cap > 0:
            yield f"model.{field}={cap} must be more than 0; None has no limit."
    mixer = mixer_of(model)
    if isinstance(mixer, GatedLinear):
        yield from _linear_problems(model, mixer)


def _linear_problems(model: Any, mixer: GatedLinear) -> Iterator[str]:
    if mixer.chunk < 1 or not mixer.longest >= 1:
        yield "model.mixer.chunk and model.mixer.longest must be 1 or more."
    softmax_only = {
        "attention": model.attention != Full(),
        "softcap": model.softcap is not None,
        "kv_heads": model.kv_heads not in (None, model.heads),
        "positions": isinstance(model.positions, ALiBi | Relative),
    }
    for field, chosen in softmax_only.items():
        if chosen:
            yield (
                f"model.{field}={getattr(model, field)} acts on the scores of softmax "
                "attention, and model.mixer=GatedLinear has none. Leave one of them."
            )


def _feedforward_problems(model: Any) -> Iterator[str]:
    choice = model.feedforward
    if not choice.ratio > 0 or choice.hidden(model.width) < 1:
        yield f"model.feedforward.ratio={choice.ratio} leaves no hidden width."
    if isinstance(choice, MoE) and not 1 <= choice.k <= choice.experts:
        yield (
            f"model.feedforward.k={choice.k} experts for a token can't be chosen from "
            f"model.feedforward.experts={choice.experts}."
        )
