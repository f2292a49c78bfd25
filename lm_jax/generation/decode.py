"""Continuing prompts, or writing what follows from a source."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int

from lm_jax.errors import NotFinite, UserError
from lm_jax.generation.beams import Beam, BeamSearch
from lm_jax.generation.constraints import Grammar, Guide
from lm_jax.generation.sampling import (
    Sampling,
    among,
    check_seed,
    permitted,
    sample,
)
from lm_jax.generation.steps import (
    Choice,
    Chooser,
    Continuation,
    State,
    Windows,
    advance,
)
from lm_jax.platform import products_of

Watch = Callable[[Sequence[Continuation]], Sequence[bool]]
"""Told what is there so far of each prompt; says which are to go no further."""


@dataclass(frozen=True)
class Drawing:
    """Draws tokens, until one ends the text.

    Attributes:
        sampling: how.
        end: the token that ends a text; None is no token.
        known: tokens from here on are never drawn; None draws all.
    """

    sampling: Sampling
    end: int | None
    known: int | None

    def begin(self, numbers: Int[np.ndarray, " rows"], length: int) -> dict[str, Any]:
        """What is kept: the number of each row, and ln p of its tokens."""
        return {
            "numbers": np.asarray(numbers, np.int32),
            "log_p": np.zeros((len(numbers), length), np.float32),
        }

    def choose(self, logits, state, growing, key):
        """Draw by the key of (seed, row, position in the new text)."""
        made = state.ends - state.firsts
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, state.own["numbers"])
        keys = jax.vmap(jax.random.fold_in)(keys, made)
        logits = among(logits, self.known)
        history = state.history if self.sampling.remembers else None
        open_to = logits
        if "allowed" in state.own:
            open_to = permitted(logits, state.own["allowed"])
        tokens = sample(open_to, keys, self.sampling, history)
        drawn = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
        drawn = drawn - jax.nn.logsumexp(logits, axis=-1)
        log_p = state.own["log_p"]
        place = jnp.where(growing, made, log_p.shape[1])
        log_p = log_p.at[jnp.arange(len(tokens)), place].set(drawn, mode="drop")
        ended = jnp.zeros_like(growing) if self.end is None else tokens == self.end
        return Choice(tokens, ended, state.own | {"log_p": log_p})

    def found(self, state: State, length: int) -> list[list[Continuation]]:
        """What was drawn for each row so far."""
        text, firsts, ends = map(np.asarray, (state.text, state.firsts, state.ends))
        log_p = np.asarray(state.own["log_p"])
        rows = []
        for row, (first, end) in enumerate(zip(firsts, ends, strict=True)):
            tokens, own = text[row, first:end], log_p[row, : end - first]
            ended = bool(len(tokens)) and tokens[-1] == self.end
            rows.append([Continuation(tokens, own, bool(ended), float(own.sum()))])
        return rows


def generate(
    model: nn.Module,
    params: Any,
    prompts: Sequence[Int[np.ndarray, " _"]],
    length: int,
    context: int,
    sampling: Sampling,
    seed: int,
    known: int | None = None,
) -> Int[np.ndarray, "batch length"]:
    """Continue each prompt by ``length`` tokens; see `continue_prompts`."""
    found = continue_prompts(
        model, params, prompts, length, context, sampling, seed, known=known
    )
    new = [row[0].tokens for row in found]
    return np.stack(new) if new else np.zeros((0, length), np.int32)


def continue_prompts(
    model: nn.Module,
    params: Any,
    prompts: Sequence[Int[np.ndarray, " _"]],
    length: int,
    context: int,
    sampling: Sampling,
    seed: int,
    *,
    beam: Beam | None = None,
    end: int | None = None,
    known: int | None = None,
    sources: Sequence[Int[np.ndarray, " _"]] | None = None,
    numbers: Sequence[int] | None = None,
    grammar: Grammar | None = None,
    watch: Watch | None = None,
    each: int = 16,
) -> list[list[Continuation]]:
    """Continue each prompt by at most ``length`` tokens.

    The model sees a window of at most ``context`` tokens. It starts as the
    prompt (of an overlong prompt: its last ``context`` tokens) and grows by
    each new token. When it would outgrow the context, its last half is read
    again from position 0 and grows in turn. So positions stay within those the
    model was trained on, and the cost grows linearly with the length.

    A recurrent model has no such limit and reads everything once.

    A token's random key comes from (seed, row, position in the new text), so
    the rows beside it change nothing.

    Args:
        model: a module that offers what `Model` does.
        params: its parameters.
        prompts: token ids, of any length from 1; lengths may differ.
        length: tokens to add to each, at most.
        context: tokens that the model may see at once.
        sampling: how each token is drawn; of a beam search its penalties alone.
        seed: of the draws.
        beam: searches instead of drawing.
        end: the token that ends a text; None goes on for ``length`` tokens.
        known: tokens from here on are never chosen; None knows all.
        sources: for each prompt what an encoder reads, from 1 token; their first
            ``context`` tokens are read. None is for a model that reads none.
        numbers: of the rows, by which they are drawn; None counts from 0.
        grammar: what the new texts are to be; not of a beam search.
        watch: called whenever ``each`` tokens were added.
        each: tokens between two calls.

    Returns:
        For each prompt its continuation; of a beam search the ``best`` ones.

    Raises:
        UserError: for an empty prompt, ids that the model doesn't know, a
            sampling that can't be, a negative length.
        NotFinite: there is no largest logit.
    """
    sampling.check(model.vocab_size)
    check_seed(seed)
    if length < 0:
        raise UserError(f"length={length} must be 0 or more.")
    check_prompts(prompts, model.vocab_size)
    _check_ids(sources or (), model.vocab_size, "Source")
    if beam is not None:
        beam.check(min(known or model.vocab_size, model.vocab_size))
    if len(prompts) == 0 or length == 0:
        nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
        return [[Continuation(*nothing, False, 0.0)] for _ in prompts]
    if model.recurrent:
        context = max(map(len, prompts)) + length
    copies = 1 if beam is None else beam.size
    repeated = [prompt[-context:] for prompt in prompts for _ in range(copies)]
    text, firsts, windows = _laid_out(repeated, length, context)
    chooser: Any = Drawing(sampling, end, known)
    if beam is not None:
        chooser = BeamSearch(beam, sampling, end, known, length)
    counted = np.arange(len(prompts)) if numbers is None else np.asarray(numbers)
    # Made by numpy: each array that jax made would be a program of its own.
    begun: dict[str, Any] = {
        "text": text,
        "starts": np.zeros_like(firsts),
        "ends": firsts.copy(),
        "firsts": firsts,
        "stops": firsts + np.int32(length),
        "cache": _cache(model, params, sources, len(repeated), windows),
        "unread": np.True_,
        "finite": np.True_,
        "own": chooser.begin(counted, length),
    }
    state = State(**_beside(params, begun))
    run = functools.partial(_run, model, params, windows, chooser, seed, length)
    if grammar is None:
        return run(state, watch, each)
    guide = Guide(grammar, len(prompts), model.vocab_size)
    return guide.marked(run(guide.moved(state), watch, 1, guide))


def _beside(params: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Put a state on the devices, and where the parameters are bound to, if they are.

    A step leaves it there: else the second step would be compiled anew.
    """
    first = jax.tree.leaves(params)[0]
    if not getattr(first, "committed", False):
        return jax.device_put(state)
    place = first.sharding
    if isinstance(place, NamedSharding):
        place = NamedSharding(place.mesh, PartitionSpec())
    return jax.device_put(state, place)


def _run(
    model: nn.Module,
    params: Any,
    windows: Windows,
    chooser: Chooser,
    seed: int,
    length: int,
    state: State,
    watch: Watch | None,
    each: int,
    guide: Guide | None = None,
) -> list[list[Continuation]]:
    """Add tokens, all at once unless somebody watches or guides."""
    key, made = jax.random.key(seed), 0
    each = length if watch is None and guide is None else each
    while made < length and (np.asarray(state.ends) < np.asarray(state.stops)).any():
        made = min(length, made + each)
        limit = np.int32(made)
        state = advance(model, params, state, limit, key, windows, chooser)
        finite_or_raise(state.finite)
        if guide is not None:
            state = guide.moved(state)
        if watch is not None:
            enough = np.array(watch([row[0] for row in chooser.found(state, length)]))
            stops = jnp.where(enough, state.ends, state.stops)
            state = state._replace(stops=stops)
    return chooser.found(state, length)


def finite_or_raise(finite: Bool[Array, ""]) -> None:
    """See that each token was chosen by numbers.

    Raises:
        NotFinite: one wasn't.
    """
    if not finite:
        raise NotFinite(
            "The model's logits are infinite or not numbers: there is no token to draw "
            "from them. Its parameters are not finite, or too large. Take an earlier "
            "checkpoint (--step)."
        )


def check_prompts(prompts: Sequence[np.ndarray], vocab_size: int) -> None:
    """Refuse prompts that can't be continued.

    Raises:
        UserError: naming the first.
    """
    _check_ids(prompts, vocab_size, "Prompt")


def _laid_out(
    prompts: Sequence[np.ndarray], length: int, context: int
) -> tuple[np.ndarray, np.ndarray, Windows]:
    """Give the prompts in rows with room, their lengths, and how they are seen."""
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    # Few widths: a new prompt length seldom compiles anything new.
    width = min(context, 1 << (max(map(len, prompts)) - 1).bit_length())
    text = np.zeros((len(prompts), width + length), np.int32)
    for row, prompt in zip(text, prompts, strict=True):
        row[: len(prompt)] = prompt
    # A text that fits needs no half windows, nor a cache for the whole context.
    slots = min(context, width + length - 1)
    if width + length - 1 > context:
        width = max(width, max(1, context // 2))
    return text, lengths, Windows(context, slots, width)


def _cache(
    model: nn.Module,
    params: Any,
    sources: Sequence[np.ndarray] | None,
    rows: int,
    windows: Windows,
) -> Any:
    """The cache of no token yet, of the sources where there are some."""
    if sources is None:
        return _empty(model, rows, windows.slots)
    sources = [source[: windows.context] for source in sources]
    longest = max(map(len, sources))
    width = min(windows.context, 1 << (longest - 1).bit_length())
    source = np.zeros((len(sources), width), np.int32)
    mask = np.zeros(source.shape, bool)
    for row, ids in enumerate(sources):
        source[row, : len(ids)], mask[row, : len(ids)] = ids, True
    copies = rows // len(sources)
    return _encoded(model, params, source, mask, windows.slots, copies)


@functools.partial(jax.jit, static_argnames=("model", "rows", "slots"))
def _empty(model: nn.Module, rows: int, slots: int) -> Any:
    return model.empty_cache(rows, slots)


@functools.partial(jax.jit, static_argnames=("model", "slots", "copies"))
def _encoded(
    model: nn.Module,
    params: Any,
    source: Int[Array, "batch time"],
    mask: Bool[Array, "batch time"],
    slots: int,
    copies: int,
) -> Any:
    """Read each source once, and remember it in so many rows."""
    with products_of(model):
        cache = model.apply(
            {"params": params}, source, mask, slots=slots, method="encode"
        )
    rows = jnp.repeat(jnp.arange(source.shape[0]), copies)
    return model.rows_of(cache, rows)


def _check_ids(texts: Sequence[np.ndarray], vocab_size: int, what: str) -> None:
    for number, text in enumerate(texts, 1):
        which = f"{what} {number} of {len(texts)}"
        if len(text) == 0:
            raise UserError(
                f"{which} is empty. A model continues at least one token; a newline "
                "is a good beginning."
            )
        for token in (int(np.min(text)), int(np.max(text))):
            if not 0 <= token < vocab_size:
                raise UserError(
                    f"{which} has token {token}, and the model knows 0 to "
                    f"{vocab_size - 1}. Was it written with another tokenizer?"
                )
