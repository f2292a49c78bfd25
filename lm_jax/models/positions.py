"""How a model knows where in the text a token stands.

Each choice is a value with two methods that its siblings share: ``embed`` acts
on the token embeddings and ``turn`` on queries and keys. They are called
inside a module's compact scope, so a choice with parameters declares them there.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class NoPositions:
    """The causal mask alone tells positions apart (Haviv et al. 2022)."""

    def embed(
        self, x: Float[Array, "batch time width"], positions: Int[Array, "rows time"]
    ) -> Float[Array, "batch time width"]:
        """Return the token embeddings, with what says where they stand."""
        return x

    def turn(
        self,
        x: Float[Array, "batch heads time dim"],
        positions: Int[Array, "rows time"],
    ) -> Float[Array, "batch heads time dim"]:
        """Return queries or keys, turned by where they stand."""
        return x


@dataclass(frozen=True)
class Learned(NoPositions):
    """One learned vector for each position (Radford et al. 2018).

    Attributes:
        length: number of positions; 0 takes the context of the data.
    """

    length: int = 0

    def embed(self, x, positions):
        """Add the vector of each position; needs ``length``."""
        table = nn.Embed(
            self.length,
            x.shape[-1],
            embedding_init=nn.initializers.normal(0.02),
            name="positions",
        )
        return x + table(positions).astype(x.dtype)


@dataclass(frozen=True)
class Sinusoidal(NoPositions):
    """Sines and cosines of geometric wavelengths (Vaswani et al. 2017, 3.5).

    Attributes:
        base: the longest wavelength is 2 pi times this.
    """

    base: float = 10000.0

    def embed(self, x, positions):
        """Add the waves, at the scale of the initial embeddings (std 0.02)."""
        angles = _angles(positions, x.shape[-1], self.base)
        waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        return x + (0.02 * jnp.sqrt(2.0) * waves[..., : x.shape[-1]]).astype(x.dtype)


@dataclass(frozen=True)
class Rotary(NoPositions):
    """Turn pairs of a query or key by the position (Su et al. 2021).

    Attributes:
        base: the slowest pair turns once in about 2 pi times this many tokens.
    """

    base: float = 10000.0

    def turn(self, x, positions):
        """Turn component i with component i + dim/2, as GPT-NeoX does."""
        angles = _angles(positions, x.shape[-1], self.base)[:, None]
        sin, cos = jnp.sin(angles), jnp.cos(angles)
        a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
        return turned.astype(x.dtype)


def _angles(positions: Array, width: int, base: float) -> Array:
    """Angle of each position for each of ceil(width / 2) wavelengths."""
    half = (width + 1) // 2
    frequencies = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    return positions[..., None].astype(jnp.float32) * frequencies


Positions = NoPositions | Learned | Sinusoidal | Rotary
