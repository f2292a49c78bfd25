"""What of the text so far makes a token less likely."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class History(NamedTuple):
    """The text so far of each row, from its first column on.

    Attributes:
        text: tokens; what stands from ``ends`` on is none.
        firsts: columns of the first new tokens; before them stand the prompts.
        ends: columns after the last tokens.
    """

    text: Int[Array, "batch columns"]
    firsts: Int[Array, " batch"]
    ends: Int[Array, " batch"]


def repetition_penalised(
    logits: Float[Array, "batch vocab"], history: History, penalty: float
) -> Float[Array, "batch vocab"]:
    """Make tokens of the prompt and the new text less likely, above a penalty of 1.

    Positive logits are divided by it and negative ones multiplied (Keskar et al. 2019,
    4.1; the sign is minded as all programs do since).

    Args:
        logits: of the next token.
        history: before it.
        penalty: above 0; below 1 repetition is made likelier.
    """
    seen = counted(history, logits.shape[-1], new=False) > 0
    changed = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(seen, changed, logits)


def count_penalised(
    logits: Float[Array, "batch vocab"],
    history: History,
    frequency: float,
    presence: float,
) -> Float[Array, "batch vocab"]:
    """Take from each token for every time, and once, that the new text has it.

    As in OpenAI's API: logits - frequency * count - presence * (count > 0).

    Args:
        logits: of the next token.
        history: before it.
        frequency: for each time.
        presence: once.
    """
    counts = counted(history, logits.shape[-1], new=True)
    return logits - frequency * counts - presence * (counts > 0)


def without_repeats(
    logits: Float[Array, "batch vocab"], history: History, size: int
) -> Float[Array, "batch vocab"]:
    """Rule out tokens that would end an n-gram for the second time.

    The prompt counts too (Paulus et al. 2018, 2.5, with trigrams). Where all tokens
    would be ruled out, none is.

    Args:
        logits: of the next token.
        history: before it.
        size: tokens of an n-gram.
    """
    repeated = _completed(history, size, logits.shape[-1])
    kept = jnp.where(repeated, -jnp.inf, logits)
    possible = kept.max(axis=-1, keepdims=True) > -jnp.inf
    return jnp.where(possible, kept, logits)


def counted(history: History, vocab: int, new: bool) -> Float[Array, "batch vocab"]:
    """Count each token in the text so far.

    Args:
        history: of each row.
        vocab: number of tokens.
        new: whether the prompt is left out.
    """
    text, columns = history.text, jnp.arange(history.text.shape[1])
    there = columns < history.ends[:, None]
    if new:
        there &= columns >= history.firsts[:, None]
    rows = jnp.arange(text.shape[0])[:, None]
    nothing = jnp.zeros((text.shape[0], vocab), jnp.float32)
    return nothing.at[rows, text].add(there.astype(jnp.float32))


def _completed(history: History, size: int, vocab: int) -> Bool[Array, "batch vocab"]:
    """Which tokens followed the last ``size - 1`` tokens before."""
    text, ends = history.text, history.ends[:, None]
    batch, columns = text.shape
    none = jnp.zeros((batch, vocab), bool)
    if size > columns:
        return none
    last = ends - (size - 1) + jnp.arange(size - 1)
    last = jnp.take_along_axis(text, jnp.maximum(last, 0), axis=1)
    starts = columns - size + 1
    same = (jnp.arange(starts) + size <= ends) & (ends >= size)
    for place in range(size - 1):
        same &= text[:, place : place + starts] == last[:, place, None]
    return none.at[jnp.arange(batch)[:, None], text[:, size - 1 :]].max(same)
