"""Which form of attention serves: the mesh's platform decides, or an execution."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jaxtyping import Array, Float

from lm_jax.kernels import attention_blocks, attention_gpu, attention_tpu
from lm_jax.kernels.attention import Sight
from lm_jax.kernels.attention_blocks import LONG, attend_long
from lm_jax.kernels.placement import platform

Form = Literal["auto", "plain", "blocks", "splash", "cudnn"]


class Kernel(NamedTuple):
    """A form that keeps no weights.

    Attributes:
        attend: takes query, key, value, sight, scale and softcap; bias too, where it
            doesn't lack that.
        lacks: takes query, key, sight, softcap and bias; says why it can't attend so.
        platform: that has it; None is all.
    """

    attend: Callable
    lacks: Callable[..., str | None]
    platform: str | None


KERNELS = {
    "blocks": Kernel(attend_long, attention_blocks.lacks, None),
    "splash": Kernel(attention_tpu.attend_splash, attention_tpu.lacks, "tpu"),
    "cudnn": Kernel(attention_gpu.attend_cudnn, attention_gpu.lacks, "gpu"),
}
# What each platform has of its own.
OWN = {kernel.platform: name for name, kernel in KERNELS.items() if kernel.platform}


def form_of(
    asked: Form,
    query: Float[Array, "batch heads time dim"],
    key: Float[Array, "batch kv_heads time dim"],
    sight: Sight,
    softcap: float | None,
    bias: Any = None,
    kept: Any = None,
) -> Callable | None:
    """Give the form that attends and keeps no weights; None is the plain one.

    Args:
        asked: "auto" takes the platform's own, and from 4,096 tokens on "blocks"
            where that can't attend so; it says what is in the way.
        query, key: of a row.
        sight: what each token sees.
        softcap, bias, kept: as of `lm_jax.kernels.attention.attend`.

    Raises:
        ValueError: the form that was asked for can't attend so.
    """
    here = platform()
    if asked == "plain" or here is None and asked != "auto":
        return None
    best = OWN.get(here or "")
    name = best if asked == "auto" else asked
    why = _lacks(name, query, key, sight, softcap, bias, kept)
    if name is not None and why is None:
        return KERNELS[name].attend
    if asked != "auto":
        raise ValueError(
            f"execution.compute.attention='{asked}' can't be had: {why}. 'auto' takes "
            "what there is."
        )
    long = query.shape[2] >= LONG
    lacking = _lacks("blocks", query, key, sight, softcap, bias, kept)
    blocks = long and lacking is None
    if why := why or (lacking if long else None):
        left = "blocks of queries" if blocks else "its plain form"
        _say(f"{why}: attention takes {left} instead of {best or 'blocks'}.")
    return attend_long if blocks else None


def form_problem(asked: Form, here: str) -> str | None:
    """Say why devices of a platform don't have a form, or None."""
    kernel = KERNELS.get(asked)
    if kernel is None or kernel.platform in (None, here):
        return None
    return (
        f"execution.compute.attention='{asked}' is for the platform "
        f"{kernel.platform}, and the devices are of {here}. 'auto' takes what there is."
    )


def _lacks(name, query, key, sight, softcap, bias, kept) -> str | None:
    """Say why a form can't attend so; None where it can, or there is none."""
    if name is None:
        return None
    if kept is not None:
        return "No kernel has dropout of attention's weights"
    return KERNELS[name].lacks(query, key, sight, softcap, bias)


@functools.cache
def _say(text: str) -> None:
    """Warn once of what costs memory."""
    warnings.warn(text, stacklevel=2)
