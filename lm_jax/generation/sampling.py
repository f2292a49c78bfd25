"""Drawing a token from the logits of a model."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from lm_jax.bounds import SEEDS, check_number
from lm_jax.errors import UserError
from lm_jax.generation.penalties import (
    History,
    count_penalised,
    repetition_penalised,
    without_repeats,
)

_MOST = 1e6


def check_seed(seed: int) -> None:
    """Refuse what is no seed of its own.

    Raises:
        UserError: with the seeds that there are.
    """
    check_number("seed", seed, SEEDS)


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    First the text so far changes the logits: repetition, frequency, presence, n-grams.
    Then they are divided by the temperature, and the cuts act in this order.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: keep the k likeliest tokens (Fan et al. 2018).
        top_p: keep the fewest tokens, likeliest first, that hold this share of
            what top_k kept (Holtzman et al. 2020).
        min_p: keep the tokens at least this many times as likely as the
            likeliest (Nguyen et al. 2024).
        typical: of what is left, keep the fewest tokens that hold this share, those
            first whose information is nearest to the entropy (Meister et al. 2023).
        repetition_penalty: of the tokens of the prompt and the new text; 1 changes
            nothing (Keskar et al. 2019).
        frequency_penalty: taken from a logit for each time that the new text has
            the token.
        presence_penalty: taken once, if the new text has it.
        no_repeat_ngram: n-grams of so many tokens come once, the prompt's included
            (Paulus et al. 2018); None allows all.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical: float | None = None
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram: int | None = None

    @property
    def remembers(self) -> bool:
        """Whether the text so far changes what is drawn."""
        added = self.frequency_penalty or self.presence_penalty
        return bool(self.repetition_penalty != 1 or added or self.no_repeat_ngram)

    def check(self, vocab_size: int) -> None:
        """Refuse what can't be drawn from a vocabulary of this size.

        Raises:
            UserError: naming the field, its value and what it may be.
        """
        if not 0 <= self.temperature < math.inf:
            raise UserError(
                f"sampling.temperature={self.temperature} must be 0 (greedy) or a "
                "positive number."
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(
                f"sampling.top_k={self.top_k} must be from 1 (greedy) to "
                f"{vocab_size} (the whole vocabulary), or None."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(
                f"sampling.top_p={self.top_p} must be above 0 and at most 1 (the "
                "whole vocabulary), or None."
            )
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise UserError(
                f"sampling.min_p={self.min_p} must be from 0 (the whole vocabulary) "
                "to 1 (greedy), or None."
            )
        if self.typical is not None and not 0 < self.typical <= 1:
            raise UserError(
                f"sampling.typical={self.typical} must be above 0 and at most 1 (the "
                "whole vocabulary), or None."
            )
        self._check_penalties()

    def _check_penalties(self) -> None:
        # Far beyond these, float32 makes infinity of a logit, and no number of none.
        if not 1 / _MOST <= self.repetition_penalty <= _MOST:
            raise UserError(
                f"sampling.repetition_penalty={self.repetition_penalty} must be above "
                f"0, from {1 / _MOST:g} to {_MOST:g}; 1 changes nothing."
            )
        for name in ("frequency_penalty", "presence_penalty"):
            if not -_MOST <= getattr(self, name) <= _MOST:
                raise UserError(
                    f"sampling.{name}={getattr(self, name)} must be a number from "
                    f"{-_MOST:g} to {_MOST:g}; 0 changes nothing."
                )
        if self.no_repeat_ngram is not None and self.no_repeat_ngram < 1:
            raise UserError(
                f"sampling.no_repeat_ngram={self.no_repeat_ngram} must be 1 or more, "
                "or None."
            )


def among(
    logits: Float[Array, "rows vocab"], known: int | None
) -> Float[Array, "rows vocab"]:
    """Rule out the tokens from ``known`` on, which no tokenizer has."""
    if known is None or known >= logits.shape[-1]:
        return logits
    return jnp.where(jnp.arange(logits.shape[-1]) < known, logits, -jnp.inf)


def permitted(
    logits: Float[Array, "rows vocab"], allowed: UInt8[Array, "rows bytes"]
) -> Float[Array, "rows vocab"]:
    """Rule out the tokens that a constraint doesn't allow.

    Args:
        logits: of the next token.
        allowed: a bit for each token, the lowest of a byte first.
    """
    vocab = logits.shape[-1]
    bits = jnp.unpackbits(allowed, axis=-1, count=vocab, bitorder="little")
    return jnp.where(bits == 1, logits, -jnp.inf)


def penalised(
    logits: Float[Array, "batch vocab"], sampling: Sampling, history: History | None
) -> Float[Array, "batch vocab"]:
    """Change logits by the text so far, as a sampling says.

    Args:
        logits: of the next token.
        sampling: whose penalties act.
        history: the text; None has none, and nothing changes.
    """
    if history is None:
        return logits
    if sampling.repetition_penalty != 1:
        logits = repetition_penalised(logits, history, sampling.repetition_penalty)
    if sampling.frequency_penalty or sampling.presence_penalty:
        both = sampling.frequency_penalty, sampling.presence_penalty
        logits = count_penalised(logits, history, *both)
    if sampling.no_repeat_ngram:
        logits = without_repeats(logits, history, sampling.no_repeat_ngram)
    return logits


def sample(
    logits: Float[Array, "batch vocab"],
    keys: Key[Array, " batch"],
    sampling: Sampling,
    history: History | None = None,
) -> Int[Array, " batch"]:
    """Draw one token for each row, with that row's key.

    Of equal logits the lower id counts as the likelier. A token's noise belongs
    to its id: a cut changes which tokens may be drawn and nothing else.

    Args:
        logits: unnormalised log-probabilities.
        keys: one random key for each row.
        sampling: how to draw; see `Sampling.check` for what is allowed.
        history: the text so far, which penalties are of; None has none.
    """
    logits = penalised(logits, sampling, history)
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1)
    kept, ids = cut(logits, sampling)
    # The Gumbel-max trick: the argmax of logits + noise is a fair draw.
    vocab = logits.shape[-1]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,)))(keys)
    if ids is None:
        return jnp.argmax(kept + noise, axis=-1)
    noisy = kept + jnp.take_along_axis(noise, ids, axis=-1)
    choice = jnp.argmax(noisy, axis=-1, keepdims=True)
    return jnp.take_along_axis(ids, choice, axis=-1)[:, 0]


def cut(
    logits: Float[Array, "batch vocab"], sampling: Sampling
) -> tuple[Float[Array, "batch kept"], Int[Array, "batch kept"] | None]:
    """Divide logits by the temperature, and rule out what is cut off.

    Args:
        logits: penalised already.
        sampling: with a temperature above 0.

    Returns:
        Logits, -inf where a token is cut off, and the token that each is of; None
        where they are of all, in their order.
    """
    # From the highest down, so that a small temperature can't overflow.
    logits = logits - logits.max(axis=-1, keepdims=True)
    # Beyond these, float32 makes 0 or infinity of the temperature or of its inverse.
    logits = logits / min(max(sampling.temperature, 1e-37), 1e37)
    vocab, ids = logits.shape[-1], None
    if sampling.top_k is not None or sampling.top_p is not None:
        # For 50,000 tokens on a CPU, 8 ms a row sorted whole, 0.3 ms for a top 200.
        logits, ids = jax.lax.top_k(logits, min(sampling.top_k or vocab, vocab))
    # At 1 nothing is cut; a rounded sum could reach 1 before the last token.
    if sampling.top_p is not None and sampling.top_p < 1:
        probabilities = jax.nn.softmax(logits, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        logits = jnp.where(before < sampling.top_p, logits, -jnp.inf)
    if sampling.min_p:
        logits = jnp.where(logits < math.log(sampling.min_p), -jnp.inf, logits)
    if sampling.typical is not None and sampling.typical < 1:
        logits = jnp.where(typical(logits, sampling.typical), logits, -jnp.inf)
    return logits, ids


def distribution(
    logits: Float[Array, "batch vocab"], sampling: Sampling, history: History | None
) -> Float[Array, "batch vocab"]:
    """Give the probabilities that `sample` draws by.

    Args:
        logits: unnormalised log-probabilities.
        sampling: how it draws.
        history: the text so far; None has none.
    """
    logits = penalised(logits, sampling, history)
    if sampling.temperature == 0:
        return jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])
    kept, ids = cut(logits, sampling)
    p = jax.nn.softmax(kept, axis=-1)
    if ids is None:
        return p
    rows = jnp.arange(len(p))[:, None]
    return jnp.zeros_like(logits).at[rows, ids].set(p)


def typical(
    logits: Float[Array, "batch vocab"], share: float | Float[Array, "batch 1"]
) -> Bool[Array, "batch vocab"]:
    """Say which tokens are typical (Meister et al. 2023, equation 6).

    Args:
        logits: -inf where a token is cut off already.
        share: of the probability that they hold together, at least.
    """
    log_p = jax.nn.log_softmax(logits, axis=-1)
    p = jnp.exp(log_p)
    entropy = -jnp.where(p > 0, p * log_p, 0.0).sum(axis=-1, keepdims=True)
    nearest = jnp.argsort(jnp.abs(entropy + log_p), axis=-1)
    p = jnp.take_along_axis(p, nearest, axis=-1)
    kept = jnp.cumsum(p, axis=-1) - p < share
    places = jnp.argsort(nearest, axis=-1)
    return jnp.take_along_axis(kept, places, axis=-1)
