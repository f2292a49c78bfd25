"""Runs of other seeds and schedules, whose steps are made by one program at once."""

import copy
import operator
import threading
from functools import partial
from typing import Any, NamedTuple

import jax

from lm_jax.training.compiled import Compiled, stacked, stacked_constants
from lm_jax.training.state import TrainState
from lm_jax.training.step import Constants


class Given(NamedTuple):
    """What a run gives for its next step."""

    state: Any
    batch: dict[str, jax.Array]
    constants: Constants


class Row(NamedTuple):
    """Stands for the state of a run, which lies among those of the others."""

    place: int


class Abreast:
    """Makes a step of several runs once each of them has come to it.

    Each run trains in a thread of its own that holds ``turns`` all the while, and lets
    go of it only to wait for the others: one thread works at a time. A run that has
    ended, or never began, has a row all the same, so that the program stays the same;
    what is computed there is not looked at, and no row depends on another.

    Args:
        compiled: of a recipe whose execution says how many are computed together.
        runs: how many take part; at most so many.
        width: rows of the program.

    Attributes:
        turns: held by the thread that works.
    """

    def __init__(self, compiled: Compiled, runs: int, width: int):
        self.turns = threading.Condition()
        self._compiled, self._width = compiled, width
        self._here = set(range(runs))
        self._given: dict[int, Given] = {}
        self._last: dict[int, Given] = {}
        self._states: Any = None
        self._made: list[dict[str, jax.Array]] = []
        self._known: tuple[list[Constants], Constants] | None = None
        self._steps = 0
        self._failed: BaseException | None = None

    def member(self, index: int) -> Compiled:
        """The functions of a run: its step waits for those of the others."""

        def step(state: Any, batch: dict, constants: Constants):
            return self._step(index, Given(state, batch, constants))

        def taken(state: Any) -> TrainState:
            return _row(self._states, index) if isinstance(state, Row) else state

        found = copy.copy(self._compiled)
        found.step, found.taken = step, taken
        return found

    def leave(self, index: int) -> None:
        """A run has ended: the others wait for it no more."""
        self._here.discard(index)
        self._given.pop(index, None)
        self._go_on()

    def _step(self, index: int, given: Given) -> tuple[Row, dict[str, jax.Array]]:
        before = self._steps
        self._given[index] = given
        self._go_on()
        while self._steps == before and self._failed is None:
            self.turns.wait()
        if self._failed is not None:
            raise self._failed
        return Row(index), self._made[index]

    def _go_on(self) -> None:
        """Make the step if nobody is missing."""
        if not self._given or self._given.keys() != self._here:
            return
        try:
            self._make()
        except BaseException as error:  # it is each run's
            self._failed = error
        self._given = {}
        self._steps += 1
        self.turns.notify_all()

    def _make(self) -> None:
        self._last |= self._given
        # A run that never began has the row of another.
        another = next(iter(self._given.values()))
        given = [self._last.get(index, another) for index in range(self._width)]
        fresh = {
            index: each.state
            for index, each in self._given.items()
            if not isinstance(each.state, Row)
        }
        if self._states is None or len(fresh) == self._width:
            self._states = stacked([each.state for each in given])
        else:
            for index, state in fresh.items():
                self._states = _put(self._states, index, state)
        batches = stacked([each.batch for each in given])
        constants = self._constants([each.constants for each in given])
        assert self._compiled.rows is not None
        self._states, metrics = self._compiled.rows(self._states, batches, constants)
        if self._compiled.large:
            jax.block_until_ready(self._states)
        self._made = _rows_of(metrics, self._width)
        # What a run has given lies among the others now.
        self._last = {k: each._replace(state=None) for k, each in self._last.items()}

    def _constants(self, given: list[Constants]) -> Constants:
        """Stack what is each run's own: anew only where others take part."""
        if self._known is None or any(map(operator.is_not, given, self._known[0])):
            self._known = given, stacked_constants(given)
        return self._known[1]


@jax.jit
def _row(rows: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], rows)


@partial(jax.jit, donate_argnums=0)
def _put(rows: Any, index: Any, row: Any) -> Any:
    return jax.tree.map(lambda leaf, new: leaf.at[index].set(new), rows, row)


@partial(jax.jit, static_argnums=1)
def _rows_of(rows: Any, width: int) -> list[Any]:
    return [_row(rows, index) for index in range(width)]
