"""Drawing a token for each slot, every slot with settings of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from lm_jax.generation import History, Sampling
from lm_jax.generation.penalties import (
    count_penalised,
    repetition_penalised,
    without_repeats,
)
from lm_jax.generation.sampling import typical


class Drawings(NamedTuple):
    """How each slot draws: arrays, so that no setting compiles anything.

    Attributes:
        seeds, choices, drawn: what the key of a token comes from: the seed, which of
            several answers to one prompt it is of, and how many tokens it has so far.
        temperature: 0 takes the likeliest token.
        top_k: the size of the vocabulary cuts nothing.
        top_p: 1 cuts nothing.
        min_p, typical: 0 and 1 cut nothing.
        repetition, frequency, presence, no_repeat: penalties; 1, 0, 0 and 0 change
            nothing.
    """

    seeds: UInt[Array | np.ndarray, " slots"]
    choices: Int[Array | np.ndarray, " slots"]
    drawn: Int[Array | np.ndarray, " slots"]
    temperature: Float[Array | np.ndarray, " slots"]
    top_k: Int[Array | np.ndarray, " slots"]
    top_p: Float[Array | np.ndarray, " slots"]
    min_p: Float[Array | np.ndarray, " slots"]
    typical: Float[Array | np.ndarray, " slots"]
    repetition: Float[Array | np.ndarray, " slots"]
    frequency: Float[Array | np.ndarray, " slots"]
    presence: Float[Array | np.ndarray, " slots"]
    no_repeat: Int[Array | np.ndarray, " slots"]

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
        self.typical[slot] = 1.0 if sampling.typical is None else sampling.typical
        self.repetition[slot] = sampling.repetition_penalty
        self.frequency[slot] = sampling.frequency_penalty
        self.presence[slot] = sampling.presence_penalty
        self.no_repeat[slot] = min(sampling.no_repeat_ngram or 0, 2**31 - 1)

    @property
    def remember(self) -> Bool[Array | np.ndarray, " slots"]:
        """Which slots draw otherwise for the text before."""
        counts = (self.frequency != 0) | (self.presence != 0)
        return (self.repetition != 1) | counts | (self.no_repeat > 0)


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
        typical=np.ones(slots, np.float32),
        repetition=np.ones(slots, np.float32),
        frequency=np.zeros(slots, np.float32),
        presence=np.zeros(slots, np.float32),
        no_repeat=np.zeros(slots, np.int32),
    )


def keys_of(drawings: Drawings) -> Key[Array, " slots"]:
    """Give each slot's key: that of `generation.generate`, of the same seed and row."""

    def key_of(seed, choice, drawn):
        key = jax.random.fold_in(jax.random.key(seed), choice)
        return jax.random.fold_in(key, drawn)

    return jax.vmap(key_of)(drawings.seeds, drawings.choices, drawings.drawn)


def draw(
    logits: Float[Array, "slots vocab"], drawings: Drawings, history: History
) -> Int[Array, " slots"]:
    """Draw one token for each slot: `generation.sample`, the settings being arrays.

    Args:
        logits: unnormalised log-probabilities.
        drawings: how each slot draws.
        history: the text so far of each.
    """
    # Counting a text takes as long as a small model: only where somebody asks.
    logits = jax.lax.cond(
        drawings.remember.any(),
        _penalised,
        lambda logits, *_: logits,
        logits,
        drawings,
        history,
    )
    greedy = drawings.temperature == 0
    drawn = jax.lax.cond(
        greedy.all(),
        lambda logits, _: jnp.argmax(logits, axis=-1),
        _drawn,
        logits,
        drawings,
    )
    return jnp.where(greedy, jnp.argmax(logits, axis=-1), drawn)


def _penalised(
    logits: Float[Array, "slots vocab"], drawings: Drawings, history: History
) -> Float[Array, "slots vocab"]:
    """Change the logits by the text so far: `generation.sampling.penalised`."""
    columns = drawings.repetition, drawings.frequency, drawings.presence
    repetition, frequency, presence = (jnp.asarray(each)[:, None] for each in columns)
    logits = repetition_penalised(logits, history, repetition)
    logits = count_penalised(logits, history, frequency, presence)
    return without_repeats(logits, history, jnp.asarray(drawings.no_repeat))


def _drawn(
    logits: Float[Array, "slots vocab"], drawings: Drawings
) -> Int[Array, " slots"]:
    """Draw for all slots, those that take the likeliest token among them."""
    heat = jnp.where(drawings.temperature == 0, 1.0, drawings.temperature)
    logits = (logits - logits.max(axis=-1, keepdims=True)) / heat[:, None]
    vocab = logits.shape[-1]
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,)))(keys_of(drawings))
    least = jnp.log(drawings.min_p)[:, None]
    cut = (drawings.top_k < vocab) | (drawings.top_p < 1) | (drawings.typical < 1)
    cut &= drawings.temperature > 0
    # For 50,000 tokens on a CPU a row takes 8 ms to sort: only where one is cut.
    return jax.lax.cond(
        cut.any(),
        _ranked,
        lambda logits, noise, least, _: jnp.argmax(
            jnp.where(logits < least, -jnp.inf, logits + noise), axis=-1
        ),
        logits,
        noise,
        least,
        drawings,
    )


def _ranked(
    logits: Float[Array, "slots vocab"],
    noise: Float[Array, "slots vocab"],
    least: Float[Array, "slots 1"],
    drawings: Drawings,
) -> Int[Array, " slots"]:
    """Draw from the likeliest tokens of each slot alone, those above ``least``."""
    ranked, ids = jax.lax.top_k(logits, logits.shape[-1])
    kept = jnp.arange(logits.shape[-1]) < drawings.top_k[:, None]
    probabilities = jax.nn.softmax(ranked, axis=-1, where=kept)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    top_p, share = drawings.top_p[:, None], jnp.asarray(drawings.typical)[:, None]
    # At 1 nothing is cut; a rounded sum could reach 1 before the last token.
    kept &= (before < top_p) | (top_p >= 1)
    kept &= ranked >= least
    left = jnp.where(kept, ranked, -jnp.inf)
    kept &= jax.lax.cond(
        (share < 1).any(),
        lambda left: typical(left, share) | (share >= 1),
        lambda left: jnp.ones(left.shape, bool),
        left,
    )
    noisy = ranked + jnp.take_along_axis(noise, ids, axis=-1)
    choice = jnp.argmax(jnp.where(kept, noisy, -jnp.inf), axis=-1, keepdims=True)
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
