"""Drawing a token from the logits of a model."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import SEEDS, check_number
from lm_jax.errors import UserError


def check_seed(seed: int) -> None:
    """Refuse what is no seed of its own.

    Raises:
        UserError: with the seeds that there are.
    """
    check_number("seed", seed, SEEDS)


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The cuts act in this order.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_k: keep the k likeliest tokens (Fan et al. 2018).
        top_p: keep the fewest tokens, likeliest first, that hold this share of
            what top_k kept (Holtzman et al. 2020).
        min_p: keep the tokens at least this many times as likely as the
            likeliest (Nguyen et al. 2024).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

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


def sample(
    logits: Float[Array, "batch vocab"],
    keys: Key[Array, " batch"],
    sampling: Sampling,
) -> Int[Array, " batch"]:
    """Draw one token for each row, with that row's key.

    Of equal logits the lower id counts as the likelier. A token's noise belongs
    to its id: a cut changes which tokens may be drawn and nothing else.

    Args:
        logits: unnormalised log-probabilities.
        keys: one random key for each row.
        sampling: how to draw; see `Sampling.check` for what is allowed.
    """
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1)
    # From the highest down, so that a small temperature can't overflow.
    logits = logits - logits.max(axis=-1, keepdims=True)
    # Beyond these, float32 makes 0 or infinity of the temperature or of its inverse.
    logits = logits / min(max(sampling.temperature, 1e-37), 1e37)
    vocab = logits.shape[-1]
    # The Gumbel-max trick: the argmax of logits + noise is a fair draw.
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,)))(keys)
    if sampling.min_p:
        noise = jnp.where(logits < math.log(sampling.min_p), -jnp.inf, noise)
    if sampling.top_k is None and sampling.top_p is None:
        return jnp.argmax(logits + noise, axis=-1)
    # For 50,000 tokens on a CPU, 8 ms a row sorted whole and 0.3 ms for a top 200.
    ranked, ids = jax.lax.top_k(logits, min(sampling.top_k or vocab, vocab))
    noisy = ranked + jnp.take_along_axis(noise, ids, axis=-1)
    # At 1 nothing is cut; a rounded sum could reach 1 before the last token.
    if sampling.top_p is not None and sampling.top_p < 1:
        probabilities = jax.nn.softmax(ranked, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        noisy = jnp.where(before < sampling.top_p, noisy, -jnp.inf)
    choice = jnp.argmax(noisy, axis=-1, keepdims=True)
    return jnp.take_along_axis(ids, choice, axis=-1)[:, 0]
