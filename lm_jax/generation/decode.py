"""Decoding with a cache, in one compiled call."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from lm_jax.errors import NotFinite, UserError
from lm_jax.generation.sampling import Sampling, check_seed, sample
from lm_jax.platform import products_of


def generate(
    model: nn.Module,
    params: Any,
    prompts: Sequence[Int[np.ndarray, " _"]],
    length: int,
    context: int,
    sampling: Sampling,
    seed: int,
) -> Int[np.ndarray, "batch length"]:
    """Continue each prompt by ``length`` tokens.

    The model sees a window of at most ``context`` tokens. It starts as the
    prompt (of an overlong prompt: its last ``context`` tokens) and grows by
    each new token. When it would outgrow the context, its last half is read
    again from position 0 and grows in turn. So positions stay within those the
    model was trained on, and the cost grows linearly with the length.

    A recurrent model has no such limit and reads everything once.

    A token's random key comes from (seed, row, position in the new text), so
    the rows beside it change nothing.

    Args:
        model: a module with ``apply`` and ``empty_cache`` as `Transformer` has.
        params: its parameters.
        prompts: token ids, of any length from 1; lengths may differ.
        length: tokens to add to each.
        context: tokens that the model may see at once.
        sampling: how each token is drawn.
        seed: of the draws.

    Raises:
        UserError: for an empty prompt, ids that the model doesn't know, a
            sampling that can't be, a negative length.
        NotFinite: there is no largest logit.
    """
    sampling.check(model.vocab_size)
    check_seed(seed)
    if length < 0:
        raise UserError(f"length={length} must be 0 or more.")
    _check_prompts(prompts, model.vocab_size)
    if len(prompts) == 0 or length == 0:
        return np.zeros((len(prompts), length), np.int32)
    if model.recurrent:
        context = max(map(len, prompts)) + length
    prompts = [prompt[-context:] for prompt in prompts]
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    # Few widths: a new prompt length seldom compiles anything new.
    width = min(context, 1 << (max(map(len, prompts)) - 1).bit_length())
    text = np.zeros((len(prompts), width + length), np.int32)
    for row, prompt in zip(text, prompts, strict=True):
        row[: len(prompt)] = prompt
    text, finite = _decode(
        model, params, text, lengths, jax.random.key(seed), length, context, sampling
    )
    if not finite:
        raise NotFinite(
            "The model's logits are infinite or not numbers: there is no token to draw "
            "from them. Its parameters are not finite, or too large. Take an earlier "
            "checkpoint (--step)."
        )
    columns = lengths[:, None] + np.arange(length)
    return np.take_along_axis(np.asarray(text), columns, axis=1)


def _check_prompts(prompts: Sequence[np.ndarray], vocab_size: int) -> None:
    for number, prompt in enumerate(prompts, 1):
        which = f"Prompt {number} of {len(prompts)}"
        if len(prompt) == 0:
            raise UserError(
                f"{which} is empty. A model continues at least one token; a newline "
                "is a good beginning."
            )
        for token in (int(np.min(prompt)), int(np.max(prompt))):
            if not 0 <= token < vocab_size:
                raise UserError(
                    f"{which} has token {token}, and the model knows 0 to "
                    f"{vocab_size - 1}. Was it written with another tokenizer?"
                )


@functools.partial(jax.jit, static_argnames=("model", "length", "context", "sampling"))
def _decode(
    model: nn.Module,
    params: Any,
    text: Int[Array, "batch columns"],
    ends: Int[Array, " batch"],
    key: Key[Array, ""],
    length: int,
    context: int,
    sampling: Sampling,
) -> tuple[Int[Array, "batch columns"], Bool[Array, ""]]:
    """Write ``length`` tokens into each row of text from its end on.

    A row's window is text[start:end]. The outer loop reads the windows into an
    empty cache, the inner one adds tokens until every window is full; a row
    whose window is full before the others' waits for the next reading. So a
    row's tokens never depend on the rows beside it.

    Returns:
        The text, and whether each token was drawn from logits with a finite largest.
    """
    batch, columns = text.shape
    rows = jnp.arange(batch)
    stops = ends + length
    width = columns - length
    # A text that fits needs no half windows, nor a cache for the whole context.
    slots = min(context, columns - 1)
    half = max(1, context // 2)
    if columns - 1 > context:
        width = max(width, half)
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)

    def read(text, starts, ends):
        """Remember the windows, and after a short one what will be overwritten."""
        where = jnp.arange(width)
        tokens = jnp.take_along_axis(text, starts[:, None] + where, 1, mode="clip")
        cache = model.empty_cache(batch, slots)
        positions = jnp.broadcast_to(where, tokens.shape)
        # The last token is left for add_token; what follows it is padding.
        before = (where < (ends - 1 - starts)[:, None]).astype(jnp.int32)
        return _apply(model, params, tokens, positions, cache, before)[1]

    def growing(starts, ends):
        return (ends < stops) & (ends - starts <= context)

    def add_token(starts, state):
        """Show the model each row's last token and draw the one after it."""
        text, ends, cache, finite = state
        position = jnp.minimum(ends - 1 - starts, slots - 1)
        # A row that waits reads nothing: a state of constant size would change.
        reads = growing(starts, ends)[:, None].astype(jnp.int32)
        token = text[rows, ends - 1, None]
        logits, cache = _apply(model, params, token, position[:, None], cache, reads)
        keys = jax.vmap(jax.random.fold_in)(row_keys, ends + length - stops)
        # A row that waits draws too: its next token is written over that.
        text = text.at[rows, ends].set(sample(logits[:, 0], keys, sampling))
        drawn = jnp.isfinite(logits[:, 0].max(axis=-1)) | ~growing(starts, ends)
        return text, ends + growing(starts, ends), cache, finite & drawn.all()

    def fill(state):
        """Fill the windows, beginning with the last half of those that are full."""
        text, starts, ends, finite = state
        starts = jnp.where(ends - starts > context, ends - half, starts)
        text, ends, _, finite = jax.lax.while_loop(
            lambda state: growing(starts, state[1]).any(),
            functools.partial(add_token, starts),
            (text, ends, read(text, starts, ends), finite),
        )
        return text, starts, ends, finite

    text, _, _, finite = jax.lax.while_loop(
        lambda state: (state[2] < stops).any(),
        fill,
        (text, jnp.zeros_like(ends), ends, jnp.ones((), bool)),
    )
    return text, finite


def _apply(model, params, tokens, positions, cache, segments):
    with products_of(model):
        return model.apply(
            {"params": params},
            tokens,
            positions=positions,
            segments=segments,
            cache=cache,
        )
