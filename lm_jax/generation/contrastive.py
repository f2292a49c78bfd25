"""Contrastive search: likely tokens that are unlike what stands before them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lm_jax.bounds import SIZES, check, within
from lm_jax.errors import UserError
from lm_jax.generation.decode import check_prompts, finite_or_raise
from lm_jax.generation.penalties import History
from lm_jax.generation.sampling import Sampling, among, penalised
from lm_jax.generation.steps import Continuation, apply
from lm_jax.platform import products_of


@dataclass(frozen=True)
class Contrastive:
    """A search for tokens that are likely, and whose vectors are new to the text.

    Of the likeliest tokens it takes that with the greatest (1 - alpha) p - alpha s,
    where s is the greatest cosine of its features and those of a token before it (Su et
    al. 2022, equation 5). Nothing is drawn.

    Attributes:
        candidates: the likeliest tokens that are compared; 1 is greedy.
        alpha: what being new counts; 0 is greedy.
    """

    candidates: int = within(SIZES, 4)
    alpha: float = within("[0, 1]", 0.6)


class _Texts(NamedTuple):
    """Texts that grow.

    Attributes:
        text: each row's tokens.
        ends, stops: columns after the last token, and where none is written.
        cache: of all tokens.
        vectors: features of each token, of length 1.
        logits: of the next token.
        log_p: ln p of each new token.
        finite: whether all logits that were used have a finite largest.
    """

    text: Int[Array, "rows columns"]
    ends: Int[Array, " rows"]
    stops: Int[Array, " rows"]
    cache: Any
    vectors: Float[Array, "rows columns width"]
    logits: Float[Array, "rows vocab"]
    log_p: Float[Array, "rows columns"]
    finite: Bool[Array, ""]


def contrastive_search(
    model: nn.Module,
    params: Any,
    prompts: Sequence[Int[np.ndarray, " _"]],
    length: int,
    context: int,
    search: Contrastive,
    sampling: Sampling = Sampling(),
    *,
    known: int | None = None,
    end: int | None = None,
) -> list[list[Continuation]]:
    """Continue each prompt by at most ``length`` tokens.

    Args:
        model: whose cache keeps what it read: a decoder or a recurrent one.
        params: its parameters.
        prompts: token ids, of any length from 1; lengths may differ.
        length: tokens to add to each, at most.
        context: tokens that the model may see at once.
        search: how tokens are chosen.
        sampling: of which the penalties alone act, on the logits.
        known: tokens from here on are never chosen; None knows all.
        end: the token that ends a text; None goes on for ``length`` tokens.

    Raises:
        UserError: a text is longer than what the model sees at once; the model reads a
            source, or has no cache; whatever `continue_prompts` refuses.
        NotFinite: there is no largest logit.
    """
    check(search, "contrastive")
    sampling.check(model.vocab_size)
    check_prompts(prompts, model.vocab_size)
    _check(model, prompts, length, context)
    if length == 0 or not len(prompts):
        nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
        return [[Continuation(*nothing, False, 0.0)] for _ in prompts]
    firsts = np.array([len(prompt) for prompt in prompts], np.int32)
    # Few widths: a new prompt length seldom compiles anything new.
    width = 1 << (int(np.max(firsts)) - 1).bit_length()
    width = width if model.recurrent else min(width, context)
    text = np.zeros((len(prompts), width + length), np.int32)
    for row, prompt in zip(text, prompts, strict=True):
        row[: len(prompt)] = prompt
    found = _searched(
        model, params, text, firsts, width, length, search, sampling, known, end
    )
    finite_or_raise(found.finite)
    texts, ends, log_p = map(np.asarray, (found.text, found.ends, found.log_p))
    rows = []
    for number, (first, last) in enumerate(zip(firsts, ends, strict=True)):
        tokens, own = texts[number, first:last], log_p[number, first:last]
        ended = end is not None and int(tokens[-1]) == end
        rows.append([Continuation(tokens, own, ended, float(own.sum()))])
    return rows


def _check(
    model: Any, prompts: Sequence[np.ndarray], length: int, context: int
) -> None:
    if length < 0:
        raise UserError(f"length={length} must be 0 or more.")
    if "source" in model.reads or not model.caches:
        raise UserError(
            f"Contrastive search compares features that a cache goes on from, and "
            f"{type(model).__name__} has none of the text alone: leave it out."
        )
    longest = max(map(len, prompts), default=0)
    if not model.recurrent and longest + length > context:
        raise UserError(
            f"A prompt of {longest} tokens and a length of {length} are more than the "
            f"{context} tokens that the model sees at once, which contrastive search "
            f"needs. Use a length of {max(0, context - longest)} or less."
        )


@functools.partial(
    jax.jit,
    static_argnames=("model", "width", "length", "search", "sampling", "known", "end"),
)
def _searched(
    model: nn.Module,
    params: Any,
    text: Int[Array, "rows columns"],
    firsts: Int[Array, " rows"],
    width: int,
    length: int,
    search: Contrastive,
    sampling: Sampling,
    known: int | None,
    end: int | None,
) -> _Texts:
    """Read the prompts, and add tokens until all texts are long enough."""
    rows, columns = text.shape
    read = functools.partial(apply, model, params, method="features")
    where = jnp.broadcast_to(jnp.arange(width), (rows, width))
    there = (where < firsts[:, None]).astype(jnp.int32)
    empty = model.empty_cache(rows, columns)
    hidden, cache = read(text[:, :width], where, empty, there)
    vectors = (
        jnp.zeros((rows, columns, hidden.shape[-1])).at[:, :width].set(_unit(hidden))
    )
    last = jnp.take_along_axis(hidden, (firsts - 1)[:, None, None], axis=1)

    def logits_of(hidden):
        with products_of(model):
            logits = model.apply({"params": params}, hidden, method="logits")
        return among(logits[:, 0], known)

    def add(state):
        growing = state.ends < state.stops
        token, hidden, cache = _chosen(read, model, state, firsts, search, sampling)
        place = jnp.where(growing, state.ends, columns)
        number = jnp.arange(rows)
        own = jax.nn.log_softmax(state.logits, axis=-1)[number, token]
        finite = jnp.isfinite(state.logits.max(axis=-1)) | ~growing
        ends = state.ends + growing
        over = growing & (token == end) if end is not None else ~growing
        put = functools.partial(_put, number, place)
        return _Texts(
            text=put(state.text, token),
            ends=ends,
            stops=jnp.where(over, ends, state.stops),
            cache=cache,
            vectors=put(state.vectors, _unit(hidden[:, 0])),
            logits=logits_of(hidden),
            log_p=put(state.log_p, own),
            finite=state.finite & finite.all(),
        )

    state = _Texts(
        text=text,
        ends=firsts,
        stops=firsts + length,
        cache=cache,
        vectors=vectors,
        logits=logits_of(last),
        log_p=jnp.zeros(text.shape),
        finite=jnp.ones((), bool),
    )
    return jax.lax.while_loop(lambda s: (s.ends < s.stops).any(), add, state)


def _chosen(read, model, state, firsts, search, sampling):
    """Read every candidate after the text, and keep the best with what it leaves."""
    rows, vocab = state.logits.shape
    count = min(search.candidates, vocab)
    history = None
    if sampling.remembers:
        history = History(state.text, firsts, state.ends)
    p = jax.nn.softmax(penalised(state.logits, sampling, history), axis=-1)
    chances, tokens = jax.lax.top_k(p, count)
    growing = (state.ends < state.stops).astype(jnp.int32)
    place = jnp.minimum(state.ends, state.text.shape[1] - 1)
    copies = jnp.repeat(jnp.arange(rows), count)
    hidden, cache = read(
        tokens.reshape(-1, 1),
        place[copies][:, None],
        model.rows_of(state.cache, copies),
        growing[copies][:, None],
    )
    vectors = _unit(hidden[:, 0]).reshape(rows, count, -1)
    alike = jnp.einsum("rkw,rcw->rkc", vectors, state.vectors)
    before = jnp.arange(state.text.shape[1]) < state.ends[:, None]
    alike = jnp.where(before[:, None], alike, -jnp.inf).max(axis=-1)
    best = jnp.argmax((1 - search.alpha) * chances - search.alpha * alike, axis=-1)
    number = jnp.arange(rows)
    kept = number * count + best
    return tokens[number, best], hidden[kept], model.rows_of(cache, kept)


def _put(number: Array, place: Array, part: Array, new: Array) -> Array:
    return part.at[number, place].set(new, mode="drop")


def _unit(hidden: Float[Array, "*axes width"]) -> Float[Array, "*axes width"]:
    """Vectors of length 1, float32."""
    hidden = hidden.astype(jnp.float32)
    norm = jnp.linalg.norm(hidden, axis=-1, keepdims=True)
    return hidden / jnp.maximum(norm, 1e-12)
