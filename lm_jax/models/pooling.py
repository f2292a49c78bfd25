"""How the vectors of a text's tokens become one vector.

A choice is a value that is called with the vectors and says of which tokens there are;
what is padding, and on which side it stands, changes nothing.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["First", "Last", "Max", "Mean", "Pool"]

Hidden = Float[Array, "batch time width"]
Real = Bool[Array, "batch time"]
Vector = Float[Array, "batch width"]


@dataclass(frozen=True)
class First:
    """The vector of the first token, which must have seen the others (BERT)."""

    def __call__(self, hidden: Hidden, real: Real) -> Vector:
        """Choose it; of a row without tokens, the first column.

        Args:
            hidden: of each token.
            real: where a token stands, and no padding.
        """
        return _at(hidden, jnp.argmax(real, axis=1))


@dataclass(frozen=True)
class Last:
    """The vector of the last token, which has seen the others (Radford et al. 2018)."""

    def __call__(self, hidden: Hidden, real: Real) -> Vector:
        """Choose it; see `First`."""
        last = real.shape[1] - 1 - jnp.argmax(jnp.flip(real, axis=1), axis=1)
        return _at(hidden, last)


@dataclass(frozen=True)
class Mean:
    """The mean over the tokens."""

    def __call__(self, hidden: Hidden, real: Real) -> Vector:
        """Add up and divide by the tokens there are; see `First`."""
        total = jnp.where(real[..., None], hidden, 0).sum(axis=1)
        return total / jnp.maximum(real.sum(axis=1, keepdims=True), 1)


@dataclass(frozen=True)
class Max:
    """The largest of each entry over the tokens (Conneau et al. 2017)."""

    def __call__(self, hidden: Hidden, real: Real) -> Vector:
        """Choose them, 0 where there is no token; see `First`."""
        lowest = jnp.finfo(hidden.dtype).min
        largest = jnp.where(real[..., None], hidden, lowest).max(axis=1)
        return jnp.where(real.any(axis=1, keepdims=True), largest, 0)


Pool = First | Last | Mean | Max


def _at(hidden: Hidden, index: Array) -> Vector:
    return jnp.take_along_axis(hidden, index[:, None, None], axis=1)[:, 0]
