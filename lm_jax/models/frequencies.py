"""How fast rotary positions turn: as trained, or slowed down for longer texts.

Each choice is a value: ``scaled`` gives the frequencies of the pairs, ``amplitude``
the factor on what is turned.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.bounds import SIZES, within

__all__ = ["LinearScaling", "Llama3Scaling", "Scaling", "Unscaled", "YaRN"]


@dataclass(frozen=True)
class Unscaled:
    """Each pair turns as fast as its wavelength says."""

    @property
    def amplitude(self) -> float:
        """Factor on turned queries and keys; the scores have its square."""
        return 1.0

    def problems(self) -> Iterator[str]:
        """Say, in a sentence each, why these fields can't be."""
        yield from ()

    def scaled(self, frequencies: Float[Array, " pairs"], base: float) -> Array:
        """Return how far each pair turns from a token to the next.

        Args:
            frequencies: base^(-i / pairs) for the pairs i = 0, 1, ...
            base: of the wavelengths.
        """
        return frequencies


@dataclass(frozen=True)
class LinearScaling(Unscaled):
    """All pairs turn slower, as if positions were nearer (Chen et al. 2023; Gemma 3).

    Attributes:
        factor: how much slower; the length of text over that of training.
    """

    factor: float = within("[1, inf)", 8.0)

    def scaled(self, frequencies, base):
        """Divide all frequencies."""
        return frequencies / self.factor


@dataclass(frozen=True)
class Llama3Scaling(Unscaled):
    """Slow pairs turn slower, fast ones as before (Grattafiori et al. 2024; Llama 3.1).

    Attributes:
        factor: how much slower the slow ones turn.
        low: pairs that turn less than this often within ``length`` are slow.
        high: those that turn more often are fast; those between are in between.
        length: tokens of the texts of training, before.
    """

    factor: float = within("[1, inf)", 8.0)
    low: float = within("(0, inf)", 1.0)
    high: float = within("(0, inf)", 4.0)
    length: int = within(SIZES, 8192)

    def problems(self):
        """Say where no pair is fast or slow."""
        if not self.low < self.high:
            yield (
                f"model.positions.scaling.low={self.low} must be below "
                f"model.positions.scaling.high={self.high}."
            )

    def scaled(self, frequencies, base):
        """Divide those of slow pairs, and between slow and fast ones a share of it."""
        turns = self.length * frequencies / (2 * math.pi)
        fast = jnp.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return (1 - fast) * frequencies / self.factor + fast * frequencies


@dataclass(frozen=True)
class YaRN(Unscaled):
    """Slow pairs turn slower, and scores are sharper (Peng et al. 2023; Qwen2.5).

    Attributes:
        factor: how much slower the slow ones turn.
        length: tokens of the texts of training, before.
        fast: pairs that turn this often within ``length`` or more turn as before.
        slow: those that turn this often or less are slow.
        attention_factor: on turned queries and keys; None is 0.1 ln(factor) + 1.
    """

    factor: float = within("[1, inf)", 4.0)
    length: int = within(SIZES, 32768)
    fast: float = within("(0, inf)", 32.0)
    slow: float = within("(0, inf)", 1.0)
    attention_factor: float | None = within("(0, inf)", None)

    @property
    def amplitude(self) -> float:
        """The attention factor (eq. 15)."""
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1.0

    def problems(self):
        """Say where no pair is fast or slow."""
        if not self.slow < self.fast:
            yield (
                f"model.positions.scaling.slow={self.slow} must be below "
                f"model.positions.scaling.fast={self.fast}."
            )

    def scaled(self, frequencies, base):
        """Blend over the pairs between, by their place, as the authors' code does."""
        pairs = frequencies.shape[0]

        def place(turns: float) -> float:
            """Of the pair, perhaps between two, that turns so often in the length."""
            return pairs * math.log(self.length / (turns * 2 * math.pi), base)

        first = max(math.floor(place(self.fast)), 0)
        last = min(math.ceil(place(self.slow)), 2 * pairs - 1)
        steps = max(last - first, 0.001)
        slow = jnp.clip((jnp.arange(pairs) - first) / steps, 0, 1)
        return slow * frequencies / self.factor + (1 - slow) * frequencies


Scaling = Unscaled | LinearScaling | Llama3Scaling | YaRN
