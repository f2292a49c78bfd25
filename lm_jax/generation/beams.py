"""Beam search: the likeliest continuations, as far as a beam of them shows."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lm_jax.bounds import SIZES, check, within
from lm_jax.errors import UserError
from lm_jax.generation.sampling import Sampling, among, penalised
from lm_jax.generation.steps import Choice, Continuation, State


@dataclass(frozen=True)
class Beam:
    """A search that keeps several hypotheses at each step.

    A hypothesis' score is its log-probability / length**length_penalty; its length
    counts new tokens alone, with the one that ends it. The search ends once as many
    hypotheses have ended as it is wide, or at the longest length, where all count.

    Attributes:
        size: hypotheses at each step; 1 is greedy.
        length_penalty: above 0 long hypotheses are favoured, and 0 favours short ones.
        best: how many of them are given, best first.
        groups: searched one after the other, each avoiding what those before it take
            at the same position (Vijayakumar et al. 2018).
        diversity: what a token's log-probability loses in the choice for each
            hypothesis of the groups before that takes it.
    """

    size: int = within(SIZES, 4)
    # Of the longest texts float32 holds such powers.
    length_penalty: float = within("[-5, 5]", 1.0)
    best: int = within(SIZES, 1)
    groups: int = within(SIZES, 1)
    diversity: float = within("[0, inf)", 0.0)

    @property
    def width(self) -> int:
        """Hypotheses of a group."""
        return self.size // self.groups

    def check(self, vocab_size: int) -> None:
        """Refuse what can't be searched among so many tokens.

        Raises:
            UserError: naming the field, its value and what it may be.
        """
        check(self, "beam")
        if self.best > self.size:
            raise UserError(
                f"beam.best={self.best} is more than the beam keeps: --beam.size "
                f"{self.best} or more, or --beam.best {self.size}."
            )
        if self.size % self.groups:
            raise UserError(
                f"beam.size={self.size} is no multiple of beam.groups={self.groups}."
            )
        if (self.groups > 1) != (self.diversity > 0):
            raise UserError(
                f"beam.groups={self.groups} and beam.diversity={self.diversity}: "
                "groups need a diversity above 0, and a diversity needs groups."
            )
        if vocab_size < 2:
            raise UserError("A beam search needs a vocabulary of 2 tokens or more.")


class Ended(NamedTuple):
    """Hypotheses that ended, best first; a score of -inf is none.

    Attributes:
        tokens: of each, then zeros.
        log_p: of each token.
        lengths: tokens of each.
        scores: see `Beam`.
    """

    tokens: Int[Array, "batch groups kept length"]
    log_p: Float[Array, "batch groups kept length"]
    lengths: Int[Array, "batch groups kept"]
    scores: Float[Array, "batch groups kept"]


class Group(NamedTuple):
    """The hypotheses of one group, and how each could go on.

    Attributes:
        sums: log-probability of each, with the token after it.
        aims: what is searched by: the sums, less what diversity takes.
        tokens, log_p: of each hypothesis so far.
        own: ln p of each token as the model says it.
    """

    sums: Float[Array, "batch width vocab"]
    aims: Float[Array, "batch width vocab"]
    tokens: Int[Array, "batch width length"]
    log_p: Float[Array, "batch width length"]
    own: Float[Array, "batch width vocab"]


class Candidates(NamedTuple):
    """The best ways to go on, twice as many as the group is wide."""

    parents: Int[Array, "batch two_widths"]
    last: Int[Array, "batch two_widths"]
    sums: Float[Array, "batch two_widths"]
    tokens: Int[Array, "batch two_widths length"]
    log_p: Float[Array, "batch two_widths length"]


@dataclass(frozen=True)
class BeamSearch:
    """Chooses the tokens of a beam.

    Attributes:
        beam: what is kept.
        sampling: whose penalties act, on the log-probabilities.
        end: the token that ends a hypothesis; None is no token.
        known: tokens from here on are never chosen; None knows all.
        length: new tokens of a hypothesis, at most.
    """

    beam: Beam
    sampling: Sampling
    end: int | None
    known: int | None
    length: int

    def begin(self, numbers: Int[np.ndarray, " batch"], length: int) -> dict[str, Any]:
        """One hypothesis of no token in each group, and none that ended."""
        batch, beam = len(numbers), self.beam
        shape = batch, beam.groups, beam.width
        none = np.full(shape, -np.inf, np.float32)
        sums = np.where(np.arange(beam.width) == 0, np.float32(0.0), none)
        log_p = np.zeros((*shape, length), np.float32)
        tokens, lengths = np.zeros(log_p.shape, np.int32), np.zeros(shape, np.int32)
        ended: tuple[Any, ...] = tokens, log_p, lengths, none
        return {"sums": sums, "log_p": log_p.copy(), "ended": Ended(*ended)}

    def choose(self, logits, state, growing, key):
        """Go on with the best hypotheses of each group, and note those that end."""
        kept, beam = state.own, self.beam
        batch, groups, width = kept["sums"].shape
        own = jax.nn.log_softmax(among(logits, self.known), axis=-1)
        history = state.history if self.sampling.remembers else None
        steps = penalised(own, self.sampling, history)
        shape = batch, groups, width, -1
        own, steps = own.reshape(shape), steps.reshape(shape)
        new = _new_tokens(state, self.length).reshape(shape)
        made = (state.ends - state.firsts).reshape(shape)[:, 0, 0, 0]
        taken = jnp.zeros((batch, logits.shape[-1]))
        after = []
        for g in range(groups):
            sums = kept["sums"][:, g, :, None] + steps[:, g]
            aims = sums - beam.diversity * taken[:, None] if g else sums
            group = Group(sums, aims, new[:, g], kept["log_p"][:, g], own[:, g])
            found = _candidates(group, made)
            ended = jax.tree.map(lambda part: part[:, g], kept["ended"])  # noqa: B023
            after.append(self._step(found, ended, made))
            taken = taken.at[jnp.arange(batch)[:, None], after[-1]["tokens"]].add(1.0)
        now = {
            name: jax.tree.map(lambda *parts: jnp.stack(parts, 1), *parts)
            for name in after[0]
            for parts in [[each[name] for each in after]]
        }
        return self._choice(now, kept, growing.reshape(batch, -1)[:, 0])

    def _step(self, found: Candidates, ended: Ended, made: Array) -> dict[str, Any]:
        """Part the candidates of a group into those that end and those that go on."""
        width = self.beam.width
        by_token = jnp.zeros(found.last.shape, bool)
        if self.end is not None:
            by_token = found.last == self.end
        over = by_token | (made + 1 >= self.length)[:, None]
        over &= jnp.arange(2 * width) < width
        on = jnp.argsort(by_token, axis=1, stable=True)[:, :width]
        parents, last, sums, log_p = (
            jnp.take_along_axis(part, on.reshape(*on.shape, *[1] * (part.ndim - 2)), 1)
            for part in (found.parents, found.last, found.sums, found.log_p)
        )
        return {
            "parents": parents,
            "tokens": last,
            "sums": sums,
            "log_p": log_p,
            "ended": self._ended(found, over, ended, made),
        }

    def _ended(
        self, found: Candidates, over: Bool[Array, "..."], ended: Ended, made: Array
    ) -> Ended:
        """Keep the best of those that ended before and those that end now."""
        lengths = jnp.broadcast_to(made[:, None] + 1, over.shape)
        scores = found.sums / lengths**self.beam.length_penalty
        full = (ended.scores > -jnp.inf).all(axis=1, keepdims=True)
        scores = jnp.where(over & ~full, scores, -jnp.inf)
        both = Ended(found.tokens, found.log_p, lengths, scores)
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), ended, both)
        _, best = jax.lax.top_k(both.scores, self.beam.width)
        rows = jnp.arange(len(best))[:, None]
        return jax.tree.map(lambda part: part[rows, best], both)

    def _choice(
        self, now: dict[str, Any], kept: dict[str, Any], growing: Bool[Array, " batch"]
    ) -> Choice:
        """The choice of all rows; rows that wait stay as they are."""
        batch, groups, width = now["sums"].shape
        first = jnp.arange(groups)[:, None] * width
        parents = now.pop("parents") + first
        tokens = now.pop("tokens").reshape(-1)
        own = jnp.arange(self.beam.size).reshape(groups, width)
        parents = jnp.where(growing[:, None, None], parents, own)
        parents += (jnp.arange(batch) * self.beam.size)[:, None, None]

        def stay(new, old):
            return jnp.where(growing.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        now = jax.tree.map(stay, now, kept)
        ended = (now["ended"].scores > -jnp.inf).all(axis=(1, 2))
        ended = jnp.repeat(ended, self.beam.size)
        return Choice(tokens, ended, now, parents.reshape(-1))

    def found(self, state: State, length: int) -> list[list[Continuation]]:
        """The best of each prompt, over all groups."""
        ended = jax.tree.map(np.asarray, state.own["ended"])
        batch, groups, width = ended.scores.shape
        flat = jax.tree.map(
            lambda part: part.reshape(batch, groups * width, *part.shape[3:]), ended
        )
        found = []
        for row in range(batch):
            order = np.argsort(-flat.scores[row], kind="stable")[: self.beam.best]
            hypotheses = []
            for place in order:
                if flat.scores[row, place] == -np.inf:
                    continue
                n = int(flat.lengths[row, place])
                tokens, log_p = (
                    part[row, place, :n] for part in (flat.tokens, flat.log_p)
                )
                by_end = bool(tokens[-1] == self.end)
                score = float(flat.scores[row, place])
                hypotheses.append(Continuation(tokens, log_p, by_end, score))
            found.append(hypotheses)
        return found


def _new_tokens(state: State, length: int) -> Int[Array, "rows length"]:
    """The new tokens of each row, then zeros."""
    columns = state.firsts[:, None] + jnp.arange(length)
    new = jnp.take_along_axis(state.text, columns, axis=1, mode="clip")
    return jnp.where(columns < state.ends[:, None], new, 0)


def _candidates(group: Group, made: Int[Array, " batch"]) -> Candidates:
    """Find twice as many ways to go on as the group is wide, the best first."""
    batch, width, vocab = group.aims.shape
    _, flat = jax.lax.top_k(group.aims.reshape(batch, -1), 2 * width)
    rows = jnp.arange(batch)[:, None]
    parents, last = flat // vocab, flat % vocab

    def longer(part, added):
        chosen = jnp.arange(part.shape[-1]) == made[:, None, None]
        return jnp.where(chosen, added[..., None], part[rows, parents])

    return Candidates(
        parents=parents,
        last=last,
        sums=group.sums[rows, parents, last],
        tokens=longer(group.tokens, last),
        log_p=longer(group.log_p, group.own[rows, parents, last]),
    )
