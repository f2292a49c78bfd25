"""The position-wise half of a block.

Each choice is a value that is called with the part of the block that declares its
layers.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.models.part import Part

__all__ = ["MLP", "Gated"]

Activation = Literal["gelu", "gelu_exact", "relu", "relu2", "silu", "identity"]


def relu2(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Square what is positive (So et al. 2021)."""
    return jnp.square(jax.nn.relu(x))


# GELU by its tanh form, as GPT-2 computes it, and by the error function, as BERT
# and GPT-NeoX do.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "gelu_exact": functools.partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
    "relu2": relu2,
    "silu": jax.nn.silu,
    "identity": lambda x: x,
}


def activate(name: Activation, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Bend each entry, computing in float32.

    In bfloat16 every operation would round: less exact, and three times as slow
    on a CPU (GELU of 2048 x 1536 and its gradient 1.1 ms against 3.1).
    """
    return ACTIVATIONS[name](x.astype(jnp.float32)).astype(x.dtype)


def width_problems(choice: Any, config: Any) -> Iterator[str]:
    """Say why a feed-forward can't be of these sizes.

    Args:
        choice: has a ``ratio``, an ``activation`` and a ``hidden`` width.
        config: the `BlockConfig`.
    """
    asked = choice.ratio * config.width
    if not round(asked, 6) >= 1:
        yield f"model.feedforward.ratio={choice.ratio} leaves no hidden width."
    elif asked >= 2**31:
        yield f"model.feedforward.ratio={choice.ratio} makes a layer too wide."
    yield from activation_problems("model.feedforward.activation", choice.activation)


def asked_width(ratio: float, width: int) -> int:
    """The whole width below a ratio's: a few digits of it do (0.667 of 48 is 32)."""
    return int(round(ratio * width, 1))


def activation_problems(field: str, name: str) -> Iterator[str]:
    """Say where a field names no activation."""
    if name not in ACTIVATIONS:
        known = ", ".join(f"'{name}'" for name in ACTIVATIONS)
        yield f"{field}='{name}' is none of {known}."


@dataclass(frozen=True)
class MLP:
    """Widen, bend, narrow (Vaswani et al. 2017, 3.3).

    Attributes:
        ratio: hidden width over model width.
        activation: what bends: "gelu" by its tanh form (GPT-2) or "gelu_exact"
            (BERT, GPT-NeoX), "relu" (T5), "relu2", "silu" or "identity".
    """

    ratio: float = 4.0
    activation: Activation = "gelu"

    def hidden(self, width: int) -> int:
        """Hidden width for a model width."""
        return asked_width(self.ratio, width)

    def kernels(self, width: int) -> int:
        """Number of kernel entries."""
        return 2 * width * self.hidden(width)

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't have it."""
        yield from width_problems(self, config)

    def __call__(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        segments: Int[Array, "batch time"] | None = None,
    ) -> Float[Array, "batch time width"]:
        """Act on each token alone, whatever its segment."""
        width = x.shape[-1]
        hidden = self.hidden(width)
        up = part.dense(width, hidden, "hidden", "up")(x)
        down = part.dense(hidden, width, "residual", "down")
        return down(activate(self.activation, up))


@dataclass(frozen=True)
class Gated:
    """Widen twice, let one half gate the other, narrow (Shazeer 2020).

    Attributes:
        ratio: hidden width over model width; 8/3 has the parameters of an MLP
            of ratio 4. The width is rounded up to a multiple of 8 from the nearest
            whole one, so that 2.667 is as good.
        activation: of the gate: "silu" makes SwiGLU, "gelu" GEGLU, "relu" ReGLU
            and "identity" the bilinear layer.
    """

    ratio: float = 8 / 3
    activation: Activation = "silu"

    def hidden(self, width: int) -> int:
        """Hidden width for a model width."""
        return -(-math.floor(self.ratio * width + 0.5) // 8) * 8

    def kernels(self, width: int) -> int:
        """Number of kernel entries."""
        return 3 * width * self.hidden(width)

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't have it."""
        yield from width_problems(self, config)

    def __call__(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        segments: Int[Array, "batch time"] | None = None,
    ) -> Float[Array, "batch time width"]:
        """Act on each token alone, whatever its segment."""
        width = x.shape[-1]
        hidden = self.hidden(width)
        gate = part.dense(width, hidden, "hidden", "gate")(x)
        up = part.dense(width, hidden, "hidden", "up")(x)
        down = part.dense(hidden, width, "residual", "down")
        return down(activate(self.activation, gate) * up)
