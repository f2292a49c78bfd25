"""The turning of pairs of components, as rotary positions turn queries and keys."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lm_jax.kernels.placement import by_platform

Wave = Float[Array, "rows 1 time pairs"]


@jax.custom_vjp
def rotated(
    x: Float[Array, "batch heads time dim"], cos: Wave, sin: Wave
) -> Float[Array, "batch heads time dim"]:
    """Turn component i with component i + pairs; the rest stays (Su et al. 2021, 3.4).

    Computed in float32. The angles have no gradient.

    Args:
        x: queries or keys.
        cos, sin: of each pair's angle.
    """
    return by_platform({"cpu": _by_halves, "tpu": _by_product}, x, cos, sin)


def _forward(x, cos, sin):
    return rotated(x, cos, sin), (cos, sin)


def _backward(saved, gradient):
    cos, sin = saved
    return rotated(gradient, cos, -sin), None, None


rotated.defvjp(_forward, _backward)


def _by_halves(x: Array, cos: Wave, sin: Wave) -> Array:
    turned = 2 * cos.shape[-1]
    a, b = jnp.split(x[..., :turned].astype(jnp.float32), 2, axis=-1)
    pairs = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    return jnp.concatenate([pairs.astype(x.dtype), x[..., turned:]], axis=-1)


def _by_product(x: Array, cos: Wave, sin: Wave) -> Array:
    """Swap the halves by a product: a TPU keeps half a head in memory for a whole."""
    dim, pairs = x.shape[-1], cos.shape[-1]
    swap = np.zeros((dim, dim), x.dtype)
    first = np.arange(pairs)
    swap[first + pairs, first], swap[first, first + pairs] = -1, 1
    swapped = jnp.matmul(
        x,
        swap,
        precision=jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )
    rest = ((0, 0),) * 3 + ((0, dim - 2 * pairs),)
    cos = jnp.pad(jnp.concatenate([cos, cos], -1), rest, constant_values=1)
    sin = jnp.pad(jnp.concatenate([sin, sin], -1), rest)
    return (x.astype(jnp.float32) * cos + swapped * sin).astype(x.dtype)
