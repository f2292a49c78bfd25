"""Drawing a token for each slot, every slot with settings of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from lm_jax.generation import Sampling


class Drawings(NamedTuple):
    """How each slot draws: arrays, so that no setting compiles anything.

    Attributes:
        seeds, choices, drawn: what the key of a token comes from: the seed, which of
            several answers to one prompt it is of, and how many tokens it has so far.
        temperature: 0 takes the likeliest token.
        top_k: the size of the vocabulary cuts nothing.
        top_p: 1 cuts nothing.
        min_p: 0 cuts nothing.
    """

    seeds: UInt[Array | np.ndarray, " slots"]
    choices: Int[Array | np.ndarray, " slots"]
    drawn: Int[Array | np.ndarray, " slots"]
    temperature: Float[Array | np.ndarray, " slots"]
    top_k: Int[Array | np.ndarray, " slots"]
    top_p: Float[Array | np.ndarray, " slots"]
    min_p: Float[Array | np.ndarray, " slots"]

    def set(
        self, slot: int, seed: int, choice: int, sampling: Sampling, vocab_size: int
    ) -> None:
        """Let a slot, of arrays of numpy, draw as it is told.

        Args:
            slot: which.
            seed: of the draws.
            choice: which of several answers.
            sampling: how to draw.
            vocab_size: number of tokens.
        """
        self.seeds[slot], self.choices[slot], self.drawn[slot] = seed, choice, 0
        # Beyond these, float32 makes 0 or infinity of it or of its inverse.
        heat = sampling.temperature
        self.temperature[slot] = heat and min(max(heat, 1e-37), 1e37)
        self.top_k[slot] = min(sampling.top_k or vocab_size, vocab_size)
        self.top_p[slot] = 1.0 if sampling.top_p is None else sampling.top_p
        self.min_p[slot] = sampling.min_p or 0.0


def no_drawings(slots: int) -> Drawings:
    """Give the arrays of slots that all take the likeliest token."""
    return Drawings(
        seeds=np.zeros(slots, np.uint32),
        choices=np.zeros(slots, np.int32),
        drawn=np.zeros(slots, np.int32),
        temperature=np.zeros(slots, np.float32),
        top_k=np.ones(slots, np.int32),
        top_p=np.ones(slots, np.float32),
        min_p=np.zeros(slots, np.float32),
    )


def keys_of(drawings: Drawings) -> Key[Array, " slots"]:
    """Give each slot's key: that of `generation.generate`, of the same seed and row."""

    def key_of(seed, choice, drawn):
        key = jax.random.fold_in(jax.random.key(seed), choice)
        return jax.random.fold_in(key, drawn)

    return jax.vmap(key_of)(drawings.seeds, drawings.choices, drawings.drawn)


def draw(
    logits: Float[Array, "slots vocab"], drawings: Drawings
) -> Int[Array, " slots"]:
    """Draw one token for each slot: `generation.sample`, the settings being arrays.

    Args:
        logits: unnormalised log-probabilities.
        drawings: how each slot draws.
    """
    greedy = drawings.temperature == 0
    drawn = jax.lax.cond(
        greedy.all(),
        lambda logits, _: jnp.argmax(logits, axis=-1),
        _drawn,
        logits,
        drawings,
    )
    return jnp.where(greedy, jnp.argmax(logits, axis=-1), drawn)


def _drawn(
    logits: Float[Array, "slots vocab"], drawings: Drawings
) -> Int[Array, " slots"]:
    """Draw for all slots, those that take the likeliest token among them."""
    heat = jnp.where(drawings.temperature == 0, 1.0, drawings.temperature)
    logits = (logits - logits.max(axis=-1, keepdims=True)) / heat[:, None]
    vocab = logits.shape[-1]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,)))(keys_of(drawings))
    least = jnp.log(drawings.min_p)[:, None]
    noise = jnp.where(logits < least, -jnp.inf, noise)
    cut = (drawings.top_k < vocab) | (drawings.top_p < 1)
    # For 50,000 tokens on a CPU a row takes 8 ms to sort: only where one is cut.
    return jax.lax.cond(
        cut.any(),
        _ranked,
        lambda logits, noise, _: jnp.argmax(logits + noise, axis=-1),
        logits,
        noise,
        drawings,
    )


def _ranked(
    logits: Float[Array, "slots vocab"],
    noise: Float[Array, "slots vocab"],
    drawings: Drawings,
) -> Int[Array, " slots"]:
    """Draw from the likeliest tokens of each slot alone."""
    ranked, ids = jax.lax.top_k(logits, logits.shape[-1])
    noisy = ranked + jnp.take_along_axis(noise, ids, axis=-1)
    kept = jnp.arange(logits.shape[-1]) < drawings.top_k[:, None]
    probabilities = jax.nn.softmax(ranked, axis=-1, where=kept)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    top_p = drawings.top_p[:, None]
    # At 1 nothing is cut; a rounded sum could reach 1 before the last token.
    noisy = jnp.where(kept & ((before < top_p) | (top_p >= 1)), noisy, -jnp.inf)
    choice = jnp.argmax(noisy, axis=-1, keepdims=True)
    return jnp.take_along_axis(ids, choice, axis=-1)[:, 0]


class Scores(NamedTuple):
    """What the model says of the tokens that were drawn, in nats.

    Attributes:
        drawn: log-probability of each.
        ids, likeliest: the likeliest tokens and their log-probabilities.
    """

    drawn: Float[Array, " slots"]
    ids: Int[Array, "slots likeliest"]
    likeliest: Float[Array, "slots likeliest"]


LIKELIEST = 20
"""Alternatives of a token that can be asked for: as many as OpenAI's."""


def scores_of(
    logits: Float[Array, "slots vocab"],
    drawn: Int[Array, " slots"],
    wanted: Bool[Array, " slots"],
) -> Scores:
    """Score the tokens that were drawn, by the model itself: before any cut.

    Args:
        logits: unnormalised log-probabilities.
        drawn: token of each slot.
        wanted: where somebody asks; where nobody does, all is 0.
    """
    slots, vocab = logits.shape

    def scored(logits):
        logs = jax.nn.log_softmax(logits, axis=-1)
        likeliest, ids = jax.lax.top_k(logs, min(LIKELIEST, vocab))
        return Scores(logs[jnp.arange(slots), drawn], ids, likeliest)

    def unscored(logits):
        zeros = jnp.zeros((slots, min(LIKELIEST, vocab)))
        return Scores(zeros[:, 0], zeros.astype(jnp.int32), zeros)

    return jax.lax.cond(wanted.any(), scored, unscored, logits)
