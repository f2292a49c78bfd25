"""Text that an n-gram model continues."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt8

from lm_jax.counting.fitted import FittedNGram, check_ids
from lm_jax.errors import UserError
from lm_jax.generation import Continuation, History, Sampling
from lm_jax.generation.constraints import Grammar, Row
from lm_jax.generation.decode import Watch
from lm_jax.generation.sampling import among, check_seed, permitted, sample


def generate(
    fitted: FittedNGram,
    prompts: Sequence[Integer[np.ndarray, " _"]],
    length: int,
    sampling: Sampling,
    seed: int,
) -> Int[np.ndarray, "batch length"]:
    """Continue each prompt by ``length`` tokens; see `continue_counted`."""
    found = continue_counted(fitted, prompts, length, sampling, seed)
    new = [row[0].tokens for row in found]
    return np.stack(new) if new else np.zeros((0, length), np.int32)


def continue_counted(
    fitted: FittedNGram,
    prompts: Sequence[Integer[np.ndarray, " _"]],
    length: int,
    sampling: Sampling,
    seed: int,
    *,
    end: int | None = None,
    known: int | None = None,
    numbers: Sequence[int] | None = None,
    grammar: Grammar | None = None,
    watch: Watch | None = None,
    each: int = 16,
) -> list[list[Continuation]]:
    """Continue each prompt by at most ``length`` tokens.

    A token's random key comes from (seed, row, position in the new text), so
    the rows beside it change nothing.

    Args:
        fitted: the model.
        prompts: token ids, of any length, 0 included; lengths may differ.
        length: tokens to add to each, at most.
        sampling: how each token is drawn.
        seed: of the draws.
        end: the token that ends a text; None goes on for ``length`` tokens.
        known: tokens from here on are never drawn; None draws all.
        numbers: of the rows, by which they are drawn; None counts from 0.
        grammar: what the new texts are to be.
        watch: called whenever ``each`` tokens were added.
        each: tokens between two calls.

    Raises:
        UserError: ids that the model doesn't know, a sampling that can't be, a
            negative length.
    """
    sampling.check(fitted.vocab_size)
    check_seed(seed)
    if length < 0:
        raise UserError(f"length={length} must be 0 or more.")
    for prompt in prompts:
        check_ids(prompt, fitted.vocab_size)
    if not len(prompts):
        return []
    rows = _Rows.of(prompts, fitted.order - 1, length)
    counted = np.arange(len(prompts)) if numbers is None else np.asarray(numbers)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), counted)
    guided = None if grammar is None else [grammar.begin() for _ in prompts]
    for position in range(length):
        if guided is not None:
            _end_whole(rows, guided)
        growing = rows.ends < rows.stops
        if not growing.any():
            break
        with np.errstate(divide="ignore"):
            logits = np.log(fitted.next_probabilities(rows.recent()))
        history = rows.history() if sampling.remembers else None
        logits = logits.astype(np.float32)
        allowed = None if guided is None else _allowed(guided, logits, growing)
        tokens, own = _draw(logits, keys, position, history, allowed, sampling, known)
        rows.add(np.asarray(tokens), np.asarray(own), growing, end)
        if guided is not None:
            for row in growing.nonzero()[0]:
                guided[row].add(int(tokens[row]))
        if watch is not None and (position + 1) % each == 0:
            enough = np.array(watch([row[0] for row in rows.found(end)]))
            rows.stops[enough] = rows.ends[enough]
    found = rows.found(end)
    if guided is None:
        return found
    both = zip(found, guided, strict=True)
    return [[one._replace(whole=row.whole)] for (one,), row in both]


def _end_whole(rows: "_Rows", guided: Sequence[Row]) -> None:
    """End the texts that nothing may follow."""
    over = np.array([row.over for row in guided])
    rows.stops[over] = rows.ends[over]


def _allowed(
    guided: Sequence[Row],
    logits: Float[np.ndarray, "batch vocab"],
    growing: Bool[np.ndarray, " batch"],
) -> UInt8[np.ndarray, "batch bytes"]:
    """Give the bits of the tokens that may follow.

    Raises:
        UserError: the model has never seen any of them there.
    """
    bits = np.zeros((len(guided), -(-logits.shape[1] // 8)), np.uint8)
    for row, out in zip(guided, bits, strict=True):
        row.fill(out)
    chances = np.asarray(permitted(jnp.asarray(logits), jnp.asarray(bits)))
    if not np.isfinite(chances[growing].max(axis=-1)).all():
        raise UserError(
            "Nothing that the constraint allows is possible here to the model, which "
            "gives no probability to what it hasn't seen. Take one that is smoothed."
        )
    return bits


class _Rows(NamedTuple):
    """Texts that grow; what stands before a prompt is no token.

    Attributes:
        context: tokens that a model sees, and columns before the prompts.
        text: ids.
        log_p: ln p of each new token.
        firsts, ends, stops: where new tokens begin, end, and are to end.
    """

    context: int
    text: Int[np.ndarray, "batch columns"]
    log_p: Float[np.ndarray, "batch length"]
    firsts: Int[np.ndarray, " batch"]
    ends: Int[np.ndarray, " batch"]
    stops: Int[np.ndarray, " batch"]

    @staticmethod
    def of(prompts: Sequence[np.ndarray], context: int, length: int) -> "_Rows":
        """Lay prompts out, with room for new tokens."""
        firsts = np.array([len(prompt) for prompt in prompts])
        text = np.full((len(prompts), context + int(firsts.max()) + length), -1)
        for row, prompt in zip(text, prompts, strict=True):
            row[context : context + len(prompt)] = prompt
        log_p = np.zeros((len(prompts), length), np.float32)
        return _Rows(context, text, log_p, firsts, firsts.copy(), firsts + length)

    def recent(self) -> Int[np.ndarray, "batch context"]:
        """What a model sees of each."""
        columns = self.ends[:, None] + np.arange(self.context)
        return np.take_along_axis(self.text, columns, axis=1)

    def history(self) -> History:
        """The texts so far."""
        text = np.maximum(self.text[:, self.context :], 0)
        return History(*map(jnp.asarray, (text, self.firsts, self.ends)))

    def add(
        self,
        tokens: Int[np.ndarray, " batch"],
        log_p: Float[np.ndarray, " batch"],
        growing: Bool[np.ndarray, " batch"],
        end: int | None,
    ) -> None:
        """Write tokens into the rows that grow; one that is the end ends its row."""
        (rows,) = growing.nonzero()
        ends = self.ends[rows]
        self.text[rows, self.context + ends] = tokens[rows]
        self.log_p[rows, ends - self.firsts[rows]] = log_p[rows]
        self.ends[rows] += 1
        over = rows[tokens[rows] == end] if end is not None else rows[:0]
        self.stops[over] = self.ends[over]

    def found(self, end: int | None) -> list[list[Continuation]]:
        """What was drawn for each prompt so far."""
        return [[self._continuation(row, end)] for row in range(len(self.text))]

    def _continuation(self, row: int, end: int | None) -> Continuation:
        first, stop = int(self.firsts[row]), int(self.ends[row])
        tokens = self.text[row, self.context + first : self.context + stop]
        log_p = self.log_p[row, : stop - first]
        ended = bool(len(tokens)) and end is not None and int(tokens[-1]) == end
        return Continuation(tokens, log_p, ended, float(log_p.sum()))


@functools.partial(jax.jit, static_argnames=("sampling", "known"))
def _draw(
    logits: Float[Array, "batch vocab"],
    keys: Key[Array, " batch"],
    position: Int[Array, ""],
    history: History | None,
    allowed: UInt8[Array, "batch bytes"] | None,
    sampling: Sampling,
    known: int | None,
) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Draw the token at a position of the new text for each row, and say its ln p."""
    logits = among(logits, known)
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, position)
    open_to = logits if allowed is None else permitted(logits, allowed)
    tokens = sample(open_to, keys, sampling, history)
    own = jnp.take_along_axis(jax.nn.log_softmax(logits, -1), tokens[:, None], 1)
    return tokens, own[:, 0]
