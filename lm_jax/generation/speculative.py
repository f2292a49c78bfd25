"""Speculative decoding: a small model proposes tokens, the large one decides."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Asked:
    """What texts are written by; a program is compiled for each.

    Attributes:
        models: the large one and the draft.
        length, sampling, known, end, ahead: as of `speculate`.
        context: tokens that both models see at once.
    """

    models: tuple[nn.Module, nn.Module]
    length: int
    sampling: Sampling
    known: int
    end: int | None
    ahead: int
    context: int

    def slots(self, text: Array) -> int:
        """Places of a cache: what a proposal has beyond the longest text isn't read."""
        return min(self.context, text.shape[1] - self.ahead - 2)


class _Given(NamedTuple):
    """What doesn't change while texts grow.

    Attributes:
        params: of the large model and of the draft.
        firsts: tokens of each prompt.
        keys: of each row.
    """

    params: tuple[Any, Any]
    firsts: Int[Array, " rows"]
    keys: Key[Array, " rows"]

    def keys_at(self, place: Array, purpose: int) -> Array:
        """Give the key of each row for a draw at its column."""

        def folded(key, at):
            return jax.random.fold_in(jax.random.fold_in(key, at), purpose)

        return jax.vmap(folded)(self.keys, place - self.firsts)


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
    context = min(large.context, draft.context)
    # Few widths, as in `decode`: a new prompt length seldom compiles anything new.
    width = min(context, 1 << (int(np.max(firsts)) - 1).bit_length())
    text = np.zeros((len(prompts), width + length + ahead + 1), np.int32)
    for row, prompt in zip(text, prompts, strict=True):
        row[: len(prompt)] = prompt
    counted = np.arange(len(prompts)) if numbers is None else np.asarray(numbers)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), counted)
    models = large.model, draft.model
    asked = _Asked(models, length, sampling, known, end, ahead, context)
    given = _Given((large.params, draft.params), jnp.asarray(firsts), keys)
    found = _speculate(asked, given, jnp.asarray(text))
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


@functools.partial(jax.jit, static_argnames="asked")
def _speculate(asked: _Asked, given: _Given, text: Array) -> _Round:
    """Propose, verify and write until all texts are long enough."""
    return jax.lax.while_loop(
        lambda state: (state.ends < state.stops).any(),
        functools.partial(_go_on, asked, given),
        _begun(asked, given, text),
    )


def _begun(asked: _Asked, given: _Given, text: Array) -> _Round:
    """Read all of each prompt but its last token."""
    rows, columns = text.shape
    where = jnp.arange(columns - asked.length - asked.ahead - 1)
    before = (where < given.firsts[:, None] - 1).astype(jnp.int32)
    at = jnp.broadcast_to(where, before.shape)
    large, draft = (
        apply(
            model,
            params,
            text[:, : len(where)],
            at,
            model.empty_cache(rows, asked.slots(text)),
            before,
        )[1]
        for model, params in zip(asked.models, given.params, strict=True)
    )
    return _Round(
        text=text,
        ends=given.firsts,
        stops=given.firsts + asked.length,
        caches=(large, draft),
        log_p=jnp.zeros(text.shape),
        rounds=jnp.zeros_like(given.firsts),
        finite=jnp.ones((), bool),
    )


def _go_on(asked: _Asked, given: _Given, state: _Round) -> _Round:
    """Make one round: a proposal, its verification, and what is written of it."""
    text, draft, q, proposed = _proposed(asked, given, state)
    count, places = asked.ahead + 1, [state.ends + i for i in range(asked.ahead + 1)]
    logits, large = _read(
        asked, given, 0, text, state.caches[0], state.ends - 1, count, state.stops
    )
    p = [
        _chances(asked, given, logits[:, i], text, place)
        for i, place in enumerate(places)
    ]
    uniform = jax.vmap(jax.random.uniform)
    lots = [uniform(given.keys_at(place, _ACCEPT)) for place in places[:-1]]
    kept, left = verified(jnp.stack(p, 1), q, proposed, jnp.stack(lots, 1))
    last = _drawn(left, given.keys_at(state.ends + kept, _REPLACE))
    text = text.at[jnp.arange(len(text)), state.ends + kept].set(last, mode="drop")
    return _written(state, text, logits, kept, (large, draft), asked.end)


def _proposed(
    asked: _Asked, given: _Given, state: _Round
) -> tuple[Array, Any, Array, Array]:
    """Let the draft write: (text with it, its cache, its probabilities, its tokens)."""

    def propose(carry, step):
        text, cache = carry
        place = state.ends + step
        # The last two: of a proposal that was kept whole the last is not read yet.
        logits, cache = _read(asked, given, 1, text, cache, place - 2, 2, state.stops)
        q = _chances(asked, given, logits[:, -1], text, place)
        token = _drawn(q, given.keys_at(place, _PROPOSE))
        text = text.at[jnp.arange(len(text)), place].set(token, mode="drop")
        return (text, cache), (q, token)

    begin, steps = (state.text, state.caches[1]), jnp.arange(asked.ahead)
    (text, cache), (q, token) = jax.lax.scan(propose, begin, steps)
    return text, cache, jnp.swapaxes(q, 0, 1), token.T


def _read(asked, given, which, text, cache, start, count, stops):
    """Read tokens from a column on: logits after each, of the known ones, and cache."""
    at = start[:, None] + jnp.arange(count)
    tokens = jnp.take_along_axis(text, jnp.maximum(at, 0), axis=1)
    there = ((at >= 0) & (at < stops[:, None] - 1)).astype(jnp.int32)
    at = jnp.clip(at, 0, asked.slots(text) - 1)
    model, params = asked.models[which], given.params[which]
    logits, cache = apply(model, params, tokens, at, cache, there)
    return logits[..., : asked.known], cache


def _chances(asked, given, logits, text, place):
    """Give the probabilities that a token is drawn by, after penalties and cuts."""
    remembers = asked.sampling.remembers
    history = History(text, given.firsts, place) if remembers else None
    return distribution(logits, asked.sampling, history)


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


def _written(state, text, logits, kept, caches, end):
    """Note how far each text goes now: to its stop, or the first end in it."""
    growing = state.ends < state.stops
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
