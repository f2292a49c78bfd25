"""What of the text so far makes a token less likely."""

from typing import NamedTuple

import jax
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
    logits: Float[Array, "batch vocab"],
    history: History,
    penalty: float | Float[Array, "batch 1"],
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
    frequency: float | Float[Array, "batch 1"],
    presence: float | Float[Array, "batch 1"],
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
    logits: Float[Array, "batch vocab"],
    history: History,
    size: int | Int[Array, " batch"],
) -> Float[Array, "batch vocab"]:
    """Rule out tokens that would end an n-gram for the second time.

    The prompt counts too (Paulus et al. 2018, 2.5, with trigrams). Where all tokens
    would be ruled out, none is.

    Args:
        logits: of the next token.
        history: before it.
        size: tokens of an n-gram; 0 rules nothing out.
    """
    sizes = jnp.broadcast_to(jnp.asarray(size), history.ends.shape)
    repeated = _completed(history, sizes, logits.shape[-1])
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


def _completed(
    history: History, sizes: Int[Array, " batch"], vocab: int
) -> Bool[Array, "batch vocab"]:
    """Which tokens followed the last ``sizes - 1`` tokens before."""
    text, ends = history.text, history.ends
    columns, rows = jnp.arange(text.shape[1]), jnp.arange(len(text))[:, None]

    def narrowed(back, same):
        """Keep columns so far behind which stands what stands so far before the end."""
        last = text[rows[:, 0], jnp.maximum(ends - back, 0)]
        alike = (jnp.roll(text, back, axis=1) == last[:, None]) & (columns >= back)
        return same & (alike | (back >= sizes)[:, None])

    same = (columns < ends[:, None]) & ((sizes > 0) & (ends >= sizes))[:, None]
    same = jax.lax.fori_loop(1, sizes.max(), narrowed, same)
    return jnp.zeros((len(text), vocab), bool).at[rows, text].max(same)
