"""How a model knows where in the text a token stands.

Each choice is a value with three methods that its siblings share: ``embed`` acts
on the token embeddings, ``turn`` on queries and keys, ``bias`` adds to the scores
of attention. A choice with parameters declares them in the part that calls it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.rotation import rotated
from lm_jax.models.frequencies import Scaling, Unscaled
from lm_jax.models.part import Part
from lm_jax.models.patterns import Index

__all__ = [
    "ALiBi",
    "KerpleLog",
    "Learned",
    "NoPositions",
    "Positions",
    "Relative",
    "Rotary",
    "Sinusoidal",
]


@dataclass(frozen=True)
class NoPositions:
    """The causal mask alone tells positions apart (Haviv et al. 2022)."""

    on_scores: ClassVar[bool] = False
    """Whether ``bias`` adds something, so that attention must have scores."""

    def for_context(self, context: int) -> "Positions":
        """Return the same, for texts of so many tokens.

        Raises:
            ValueError: it was made for shorter ones; the message says which field.
        """
        return self

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't tell positions so."""
        yield from ()

    def embed(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        positions: Int[Array, "rows time"],
    ) -> Float[Array, "batch time width"]:
        """Return the token embeddings, with what says where they stand."""
        return x

    def turn(
        self,
        part: Part,
        x: Float[Array, "batch heads time dim"],
        positions: Int[Array, "rows time"],
        index: Index,
    ) -> Float[Array, "batch heads time dim"]:
        """Return queries or keys of a layer, turned by where they stand."""
        return x

    def shared_bias(
        self,
        part: Part,
        positions: Int[Array, "rows time"],
        key_positions: Int[Array, "rows_or_1 slots"],
    ) -> Float[Array, "rows heads time slots"] | None:
        """Return the `bias` that all layers of a stack share; None is one each."""
        return None

    def bias(
        self,
        part: Part,
        positions: Int[Array, "rows time"],
        key_positions: Int[Array, "rows_or_1 slots"],
    ) -> Float[Array, "rows heads time slots"] | None:
        """Return what the distance from tokens to keys adds to their scores."""
        return None


@dataclass(frozen=True)
class Learned(NoPositions):
    """One learned vector for each position (Radford et al. 2018).

    Attributes:
        length: number of positions; 0 takes the context of the data.
    """

    length: int = within("[0, 2147483647]", 0)

    def for_context(self, context):
        """Take the length from the context, where it has none."""
        length = self.length or context
        if length < context:
            raise ValueError(
                f"model.positions.length is {length}, fewer than the context of "
                f"{context} tokens. Leave it out: it is taken from the data."
            )
        return replace(self, length=length)

    def embed(self, part, x, positions):
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
        amplitude: of the waves. Unless told otherwise their standard deviation is
            0.02, that of initial embeddings; in the paper it is 1, beside embeddings
            times sqrt(width).
    """

    base: float = within("(1, inf)", 10000.0)
    amplitude: float = within("(0, inf)", 0.02 * 2**0.5)

    def embed(self, part, x, positions):
        """Add the waves."""
        frequencies = _frequencies(x.shape[-1], self.base)
        angles = positions[..., None].astype(jnp.float32) * frequencies
        waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        return x + (self.amplitude * waves[..., : x.shape[-1]]).astype(x.dtype)


@dataclass(frozen=True)
class Rotary(NoPositions):
    """Turn pairs of a query or key by the position (Su et al. 2021).

    Attributes:
        base: the slowest pair turns once in about 2 pi times this many tokens.
        fraction: share of a head that turns, its first components; the others know
            no positions. GPT-NeoX turns 1/4 and Phi 1/2.
        scaling: how much slower pairs turn than trained, for longer texts (Llama 3.1).
        local_base: the base of layers with a window, which are not scaled; None is
            as the others (Gemma 3).
    """

    base: float = within("(1, inf)", 10000.0)
    fraction: float = within("(0, 1]", 1.0)
    scaling: Scaling = Unscaled()
    local_base: float | None = within("(1, inf)", None)

    def problems(self, config):
        """Say where a head has no pairs, or nothing has the base."""
        yield from self._pair_problems(config.dim)
        yield from self.scaling.problems()
        layers = range(config.layers)
        if self.local_base is not None and all(map(config.attention.sees_all, layers)):
            yield (
                f"model.positions.local_base={self.local_base} is for layers with a "
                f"window, and model.attention={config.attention} gives none. Leave it "
                "out, or choose Alternating."
            )

    def _turned(self, dim: int) -> int:
        """Components of a head that turn."""
        return int(round(self.fraction * dim, 6))

    def _pair_problems(self, dim: int) -> Iterator[str]:
        turned = self._turned(dim)
        if dim % 2 and turned == dim:
            yield (
                f"Rotary positions turn pairs, and a head is {dim} wide "
                "(model.head_dim, or model.width / model.heads). Choose an even width."
            )
        elif turned % 2 or not turned:
            near = min(range(2, dim + 1, 2), key=lambda n: abs(n - turned))
            yield (
                f"Rotary positions turn pairs, and model.positions.fraction="
                f"{self.fraction} of a head of {dim} is {turned} wide. The nearest "
                f"that leaves pairs: {near / dim}."
            )

    def turn(self, part, x, positions, index):
        """Turn component i with component i + turned/2, as GPT-NeoX does."""
        turned = self._turned(x.shape[-1])
        frequencies, amplitude = self._frequencies(part, turned, index)
        angles = positions[..., None].astype(jnp.float32) * frequencies
        sin, cos = (amplitude * wave(angles)[:, None] for wave in (jnp.sin, jnp.cos))
        return rotated(x, cos, sin)

    def _frequencies(self, part, turned, index):
        """How far each pair of a layer turns with each token; how large it becomes."""
        frequencies = _frequencies(turned, self.base)
        frequencies = self.scaling.scaled(frequencies, self.base)
        if self.local_base is None:
            return frequencies, self.scaling.amplitude
        far = part.config.attention.sees_all(index)
        local = _frequencies(turned, self.local_base)
        amplitude = jnp.where(far, self.scaling.amplitude, 1.0)
        return jnp.where(far, frequencies, local), amplitude


@dataclass(frozen=True)
class ALiBi(NoPositions):
    """Scores fall with the distance, in each head at its own slope (Press 2022)."""

    on_scores = True

    def bias(self, part, positions, key_positions):
        """Subtract slope * distance."""
        distance = jnp.abs(_distances(positions, key_positions))[:, None]
        slopes = jnp.asarray(_slopes(part.config.heads))
        return -slopes[:, None, None] * distance


def _slopes(heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ...; beyond a power of two, every other one of 2n."""
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]


@dataclass(frozen=True)
class KerpleLog(NoPositions):
    """Scores fall with the logarithm of the distance (Chi et al. 2022, 4.2).

    The bias is -r1 log(1 + r2 distance), with r1 and r2 learnt for each head. They
    stay above 0 because their logarithms are the parameters; at first r1 is uniform
    up to 2 and r2 up to 1, neither below 0.01, as in the authors' code.
    """

    on_scores = True

    def bias(self, part, positions, key_positions):
        """Subtract r1 log(1 + r2 distance)."""
        heads = (part.config.heads,)
        r1 = jnp.exp(part.param("log_r1", _log_uniform, heads, 2.0))[:, None, None]
        r2 = jnp.exp(part.param("log_r2", _log_uniform, heads, 1.0))[:, None, None]
        distance = jnp.abs(_distances(positions, key_positions))[:, None]
        return -r1 * jnp.log1p(r2 * distance)


def _log_uniform(key: Array, shape: tuple[int, ...], largest: float) -> Array:
    """Logarithms of what is uniform up to ``largest``, and 0.01 or more."""
    uniform = jax.random.uniform(key, shape, maxval=largest)
    return jnp.log(jnp.maximum(uniform, 0.01))


@dataclass(frozen=True)
class Relative(NoPositions):
    """A learned bias for each distance and head (Raffel et al. 2020, 2.1).

    Distances share ``buckets``: one each for the near ones, then logarithmically
    wider.

    Attributes:
        buckets: number of biases in a head; an encoder takes half for each side.
        distance: all that is as far or farther shares the last bucket.
        shared: whether all layers of a stack have one table (T5), not one each.
    """

    buckets: int = within(SIZES, 32)
    distance: int = within(SIZES, 128)
    shared: bool = False

    on_scores = True

    def problems(self, config):
        """Say where the buckets can't be divided."""
        if self.buckets < 4 or self.buckets % 2:
            yield f"model.positions.buckets={self.buckets} must be even, 4 or more."
        elif self.distance <= self.buckets // 2:
            yield (
                f"model.positions.distance={self.distance} must be more than half of "
                f"model.positions.buckets={self.buckets}."
            )

    def bias(self, part, positions, key_positions):
        """Look the biases up."""
        table = nn.Embed(
            self.buckets,
            part.config.heads,
            embedding_init=nn.initializers.normal(0.02),
            name="relative",
        )
        back = _distances(positions, key_positions)
        return jnp.moveaxis(table(self.bucket(back, part.config.causal)), -1, 1)

    def shared_bias(self, part, positions, key_positions):
        """Look the biases up once, where the layers share them."""
        return self.bias(part, positions, key_positions) if self.shared else None

    def bucket(self, back: Int[Array, "*batch"], causal: bool) -> Int[Array, "*batch"]:
        """Return the bucket of what stands so many tokens back."""
        side = self.buckets if causal else self.buckets // 2
        ahead = 0 if causal else side * (back < 0)
        back = jnp.maximum(back, 0) if causal else jnp.abs(back)
        exact = side // 2
        steps = (side - exact) / math.log(self.distance / exact)
        far = exact + (jnp.log(jnp.maximum(back, 1) / exact) * steps).astype(jnp.int32)
        return ahead + jnp.where(back < exact, back, jnp.minimum(far, side - 1))


def _distances(positions: Array, key_positions: Array) -> Array:
    """How many tokens each key stands before each token: (rows, time, slots)."""
    return positions[:, :, None] - key_positions[:, None, :]


def _frequencies(width: int, base: float) -> Array:
    """Angle from a token to the next, for each of ceil(width / 2) wavelengths."""
    half = (width + 1) // 2
    return base ** (-jnp.arange(half, dtype=jnp.float32) / half)


Positions = NoPositions | Learned | Sinusoidal | Rotary | ALiBi | KerpleLog | Relative
