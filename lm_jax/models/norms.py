"""Normalisation of the last axis."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Norm = Literal["layer", "rms", "none"]


class LayerNorm(nn.Module):
    """Zero mean and unit variance over the last axis (Ba et al. 2016).

    Attributes:
        use_bias: whether a learned shift follows the learned scale.
        dtype: type of the result; statistics are taken in float32.
        epsilon: added to the variance.
    """

    use_bias: bool = False
    dtype: Any = jnp.float32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Normalise each vector of the last axis."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
        x = x * scale
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x.astype(self.dtype)


class RMSNorm(nn.Module):
    """Unit root mean square over the last axis (Zhang and Sennrich 2019).

    Attributes:
        use_bias: whether a learned shift follows the learned scale.
        dtype: type of the result; statistics are taken in float32.
        epsilon: added to the mean square.
    """

    use_bias: bool = False
    dtype: Any = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Normalise each vector of the last axis."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
        x = x * scale
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x.astype(self.dtype)


class NoNorm(nn.Module):
    """Vectors as they are.

    Attributes:
        use_bias: has no effect; its siblings have it.
        dtype: type of the result.
    """

    use_bias: bool = False
    dtype: Any = jnp.float32

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Change nothing but the type."""
        return x.astype(self.dtype)


NORMS: dict[str, type[nn.Module]] = {
    "layer": LayerNorm,
    "rms": RMSNorm,
    "none": NoNorm,
}


def new_norm(
    kind: Norm, use_bias: bool, dtype: Any, epsilon: float | None, name: str | None
) -> nn.Module:
    """Make a norm by the name of its kind; an epsilon of None is the kind's own."""
    if kind == "none" or epsilon is None:
        return NORMS[kind](use_bias, dtype, name=name)
    return NORMS[kind](use_bias, dtype, epsilon, name=name)
