"""How a model knows where in the text a token stands.

Each choice is a value with three methods that its siblings share: ``embed`` acts
on the token embeddings, ``turn`` on queries and keys, ``bias`` adds to the scores
of attention. They are called inside a module's compact scope, so a choice with
parameters declares them there.
"""

import math
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

    def bias(
        self,
        positions: Int[Array, "rows time"],
        slots: Int[Array, "rows_or_1 slots"],
        heads: int,
        causal: bool,
    ) -> Float[Array, "rows heads time slots"] | None:
        """Return what the distance from tokens to slots adds to their scores."""
        return None


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


@dataclass(frozen=True)
class ALiBi(NoPositions):
    """Scores fall with the distance, in each head at its own slope (Press 2022)."""

    def bias(self, positions, slots, heads, causal):
        """Subtract slope * distance."""
        distance = jnp.abs(_distances(positions, slots))[:, None]
        return -jnp.asarray(_slopes(heads))[:, None, None] * distance


def _slopes(heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ...; beyond a power of two, every other one of 2n."""
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]


@dataclass(frozen=True)
class Relative(NoPositions):
    """A learned bias for each distance and head (Raffel et al. 2020, 2.1).

    Distances share ``buckets``: one each for the near ones, then logarithmically
    wider. T5's layers share one table; here each layer has its own.

    Attributes:
        buckets: number of biases in a head; an encoder takes half for each side.
        distance: all that is as far or farther shares the last bucket.
    """

    buckets: int = 32
    distance: int = 128

    def bias(self, positions, slots, heads, causal):
        """Look the biases up."""
        table = nn.Embed(
            self.buckets,
            heads,
            embedding_init=nn.initializers.normal(0.02),
            name="relative",
        )
        back = _distances(positions, slots)
        return jnp.moveaxis(table(self.bucket(back, causal)), -1, 1)

    def bucket(self, back: Int[Array, "*batch"], causal: bool) -> Int[Array, "*batch"]:
        """Return the bucket of what stands so many tokens back."""
        side = self.buckets if causal else self.buckets // 2
        ahead = 0 if causal else side * (back < 0)
        back = jnp.maximum(back, 0) if causal else jnp.abs(back)
        exact = side // 2
        steps = (side - exact) / math.log(self.distance / exact)
        far = exact + (jnp.log(jnp.maximum(back, 1) / exact) * steps).astype(jnp.int32)
        return ahead + jnp.where(back < exact, back, jnp.minimum(far, side - 1))


def _distances(positions: Array, slots: Array) -> Array:
    """How many tokens each slot stands before each token: (rows, time, slots)."""
    return positions[:, :, None] - slots[:, None, :]


def _angles(positions: Array, width: int, base: float) -> Array:
    """Angle of each position for each of ceil(width / 2) wavelengths."""
    half = (width + 1) // 2
    frequencies = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    return positions[..., None].astype(jnp.float32) * frequencies


Positions = NoPositions | Learned | Sinusoidal | Rotary | ALiBi | Relative
