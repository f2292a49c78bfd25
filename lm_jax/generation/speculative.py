"""Speculative decoding: a small model proposes tokens, the large one decides."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from lm_jax.errors import UserError
from lm_jax.generation.decode import check_prompts, finite_or_raise
from lm_jax.generation.penalties import History
from lm_jax.generation.sampling import Sampling, check_seed, distribution
from lm_jax.generation.steps import Continuation, apply

# What a position's key is folded with: each draw has a key of its own.
_PROPOSE, _ACCEPT, _REPLACE = 0, 1, 2


class Speaker(NamedTuple):
    """A model with its parameters, and the tokens that it may see at once."""

    model: nn.Module
    params: Any
    context: int


class _Round(NamedTuple):
    """Texts that grow by one round after the other.

    Attributes:
        text: each row's tokens, and room for proposals.
        ends, stops: columns after the last token, and where none is written.
        caches: of the large model and of the draft.
        log_p: ln p of each new token by the large model.
        rounds: of each row.
        finite: whether all logits that were used have a finite largest.
    """

    text: Int[Array, "rows columns"]
    ends: Int[Array, " rows"]
    stops: Int[Array, " rows"]
    caches: tuple[Any, Any]
    log_p: Float[Array, "rows columns"]
    rounds: Int[Array, " rows"]
    finite: Any


def speculate(
    large: Speaker,
    draft: Speaker,
    prompts: Sequence[Int[np.ndarray, " _"]],
    length: int,
    sampling: Sampling,
    seed: int,
    *,
    known: int,
    end: int | None = None,
    numbers: Sequence[int] | None = None,
    ahead: int = 4,
) -> tuple[list[list[Continuation]], float]:
    """Continue each prompt as the large model would, in fewer calls of it.

    The draft proposes ``ahead`` tokens, the large model reads them at once, and each is
    kept with probability min(1, p/q); the first that isn't is drawn anew from
    max(0, p - q) (Leviathan et al. 2023, algorithm 1; Chen et al. 2023). So texts have
    the large model's distribution, and greedy ones are its own. Penalties, temperature
    and cuts act on both models alike.

    Args:
        large: decides.
        draft: proposes; of the same tokenizer.
        prompts: token ids, of any length from 1.
        length: tokens to add to each, at most.
        sampling: how each token is drawn.
        seed: of the draws.
        known: tokens of the tokenizer.
        end: the token that ends a text; None goes on for ``length`` tokens.
        numbers: of the rows, by which they are drawn; None counts from 0.
        ahead: tokens of a proposal.

    Returns:
        The continuation of each prompt, and new tokens per call of the large model.

    Raises:
        UserError: a text is longer than what both models see at once; a model can't
            take back what it read; whatever `continue_prompts` refuses.
        NotFinite: there is no largest logit.
    """
    sampling.check(known)
    check_seed(seed)
    check_prompts(prompts, known)
    _check(large, draft, prompts, length, ahead)
    if length == 0 or not len(prompts):
        nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
        return [[Continuation(*nothing, False, 0.0)] for _ in prompts], 0.0
    firsts = np.array([len(prompt) for prompt in prompts], np.int32)
    text = np.zeros((len(prompts), int(np.max(firsts)) + length + ahead + 1), np.int32)
    for row, prompt in zip(text, prompts, strict=True):
        row[: len(prompt)] = prompt
    counted = np.arange(len(prompts)) if numbers is None else np.asarray(numbers)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), counted)
    models = large.model, draft.model
    params = large.params, draft.params
    found = _speculate(
        models, params, text, firsts, length, keys, sampling, known, end, ahead
    )
    finite_or_raise(found.finite)
    texts, ends, log_p = map(np.asarray, (found.text, found.ends, found.log_p))
    rows = []
    for number, (first, last) in enumerate(zip(firsts, ends, strict=True)):
        tokens, own = texts[number, first:last], log_p[number, first:last]
        ended = end is not None and int(tokens[-1]) == end
        rows.append([Continuation(tokens, own, ended, float(own.sum()))])
    made = float((ends - firsts).sum())
    return rows, made / float(np.asarray(found.rounds).sum())


def _check(
    large: Speaker,
    draft: Speaker,
    prompts: Sequence[np.ndarray],
    length: int,
    ahead: int,
) -> None:
    if length < 0:
        raise UserError(f"length={length} must be 0 or more.")
    if ahead < 1:
        raise UserError(f"ahead={ahead}: a draft proposes 1 token or more.")
    for model in (large.model, draft.model):
        if not model.rewinds:
            raise UserError(
                f"{type(model).__name__} can't take back tokens that it read, and a "
                "draft's are taken back: leave --draft out."
            )
    longest = max(map(len, prompts), default=0)
    context = min(large.context, draft.context)
    if longest + length > context + 1:
        raise UserError(
            f"A prompt of {longest} tokens and --length {length} are more than the "
            f"{context} tokens that both models see at once, which a draft needs. Use "
            f"--length {max(0, context + 1 - longest)} or less, or leave --draft out."
        )


@functools.partial(
    jax.jit,
    static_argnames=("models", "length", "sampling", "known", "end", "ahead"),
)
def _speculate(
    models: tuple[nn.Module, nn.Module],
    params: tuple[Any, Any],
    text: Int[Array, "rows columns"],
    firsts: Int[Array, " rows"],
    length: int,
    keys: Key[Array, " rows"],
    sampling: Sampling,
    known: int,
    end: int | None,
    ahead: int,
) -> _Round:
    """Propose, verify and write until all texts are long enough."""
    rows, columns = text.shape
    where = jnp.arange(columns - length - ahead - 1)
    before = (where < firsts[:, None] - 1).astype(jnp.int32)
    at = jnp.broadcast_to(where, before.shape)
    # What a proposal has beyond the longest text is not read.
    slots = columns - ahead - 2
    caches = []
    for model, own in zip(models, params, strict=True):
        empty = model.empty_cache(rows, slots)
        caches.append(apply(model, own, text[:, : len(where)], at, empty, before)[1])

    def read(which, text, cache, start, count, stops):
        """Logits after tokens from a column on, of the known ones."""
        at = start[:, None] + jnp.arange(count)
        tokens = jnp.take_along_axis(text, jnp.maximum(at, 0), axis=1)
        there = ((at >= 0) & (at < stops[:, None] - 1)).astype(jnp.int32)
        at = jnp.clip(at, 0, slots - 1)
        logits, cache = apply(models[which], params[which], tokens, at, cache, there)
        return logits[..., :known], cache

    def key_of(place, purpose):
        return jax.vmap(
            lambda key, at: jax.random.fold_in(jax.random.fold_in(key, at), purpose)
        )(keys, place - firsts)

    def chances(logits, text, place):
        history = History(text, firsts, place) if sampling.remembers else None
        return distribution(logits, sampling, history)

    def propose(carry, step):
        text, cache, ends, stops = carry
        place = ends + step
        # The last two: of a proposal that was kept whole the last is not read yet.
        logits, cache = read(1, text, cache, place - 2, 2, stops)
        q = chances(logits[:, -1], text, place)
        token = _drawn(q, key_of(place, _PROPOSE))
        text = text.at[jnp.arange(rows), place].set(token, mode="drop")
        return (text, cache, ends, stops), (q, token)

    def go_on(state):
        growing = state.ends < state.stops
        (text, cache, *_), (q, proposed) = jax.lax.scan(
            propose,
            (state.text, state.caches[1], state.ends, state.stops),
            jnp.arange(ahead),
        )
        q, proposed = jnp.swapaxes(q, 0, 1), proposed.T
        logits, own = read(
            0, text, state.caches[0], state.ends - 1, ahead + 1, state.stops
        )
        p = jnp.stack(
            [chances(logits[:, i], text, state.ends + i) for i in range(ahead + 1)], 1
        )
        lots = jnp.stack(
            [
                jax.vmap(jax.random.uniform)(key_of(state.ends + i, _ACCEPT))
                for i in range(ahead)
            ],
            1,
        )
        kept, left = verified(p, q, proposed, lots)
        last = _drawn(left, key_of(state.ends + kept, _REPLACE))
        text = text.at[jnp.arange(rows), state.ends + kept].set(last, mode="drop")
        return _written(state, text, logits, kept, growing, (own, cache), end)

    state = _Round(
        text=text,
        ends=firsts,
        stops=firsts + length,
        caches=(caches[0], caches[1]),
        log_p=jnp.zeros(text.shape),
        rounds=jnp.zeros_like(firsts),
        finite=jnp.ones((), bool),
    )
    return jax.lax.while_loop(lambda s: (s.ends < s.stops).any(), go_on, state)


def verified(
    p: Float[Array, "rows more vocab"],
    q: Float[Array, "rows ahead vocab"],
    proposed: Int[Array, "rows ahead"],
    lots: Float[Array, "rows ahead"],
) -> tuple[Int[Array, " rows"], Float[Array, "rows vocab"]]:
    """Say how many tokens of each proposal are kept, and what the next is drawn from.

    Args:
        p: the large model's probabilities at each proposed token, and after the last.
        q: the draft's.
        proposed: tokens.
        lots: uniform in [0, 1).
    """
    token = proposed[..., None]
    ours = jnp.take_along_axis(p[:, :-1], token, -1)[..., 0]
    theirs = jnp.take_along_axis(q, token, -1)[..., 0]
    good = lots * theirs < ours
    kept = jnp.cumprod(good.astype(jnp.int32), axis=1).sum(axis=1)
    # After a proposal that was kept whole the draft says nothing.
    q = jnp.concatenate([q, jnp.zeros_like(q[:, :1])], axis=1)
    place = kept[:, None, None]
    ours, theirs = (jnp.take_along_axis(x, place, 1)[:, 0] for x in (p, q))
    left = jnp.maximum(ours - theirs, 0.0)
    # Where both are the same up to rounding, nothing is left, and p is as good.
    return kept, jnp.where(left.sum(-1, keepdims=True) > 0, left, ours)


def _drawn(p: Float[Array, "rows vocab"], keys: Key[Array, " rows"]) -> Array:
    """Draw from probabilities, which need not sum to 1."""
    noise = jax.vmap(lambda key: jax.random.gumbel(key, p.shape[1:]))(keys)
    return jnp.argmax(jnp.log(p) + noise, axis=-1).astype(jnp.int32)


def _written(state, text, logits, kept, growing, caches, end):
    """Note how far each text goes now: to its stop, or the first end in it."""
    rows, steps = len(text), jnp.arange(logits.shape[1])
    columns = state.ends[:, None] + steps
    new = jnp.take_along_axis(text, columns, axis=1, mode="clip")
    count = jnp.minimum(kept + 1, state.stops - state.ends)
    stops = state.stops
    if end is not None:
        is_end = (new == end) & (steps < count[:, None])
        count = jnp.where(is_end.any(1), is_end.argmax(1) + 1, count)
        over = growing & is_end.any(1)
        stops = jnp.where(over, state.ends + count, stops)
    own = jnp.take_along_axis(jax.nn.log_softmax(logits, -1), new[..., None], -1)
    there = growing[:, None] & (steps < count[:, None])
    place = jnp.where(there, columns, text.shape[1])
    log_p = state.log_p.at[jnp.arange(rows)[:, None], place].set(
        own[..., 0], mode="drop"
    )
    finite = jnp.isfinite(logits.max(-1)) | ~there
    return _Round(
        text=text,
        ends=jnp.where(growing, state.ends + count, state.ends),
        stops=stops,
        caches=caches,
        log_p=log_p,
        rounds=state.rounds + growing,
        finite=state.finite & finite.all(),
    )
