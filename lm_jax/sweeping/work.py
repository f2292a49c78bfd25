"""What is left of a sweep, and what became of each cell; one is done after another."""

from contextlib import closing
from functools import partial

from lm_jax.ablation.plan import Cell, Plan
from lm_jax.ablation.states import State, state_of
from lm_jax.ablation.tune import THROUGH, trial_state, watched_score
from lm_jax.runs.display import Display
from lm_jax.runs.figures import duration
from lm_jax.runs.result import find_scores, read_result
from lm_jax.statistics.report import measure_of
from lm_jax.sweeping.cells import Launch, Tried, attempt
from lm_jax.sweeping.checks import Resolved
from lm_jax.sweeping.live import CellDisplay, Pace, row
from lm_jax.training.guards import Interrupt

# What is yet to be trained; "failed": it was begun, and something in it is damaged.
TO_RUN = ("missing", "stopped", "failed")


class Work:
    """The cells of a plan: what is to do, what was done, and what is said of it.

    Args:
        plan: of the sweep.
        states: of its cells; those that are run are put in.
        resolved: what each variant's runs amount to.
        sources: the code that counts.
        display: what a person sees.
        interrupt: tells of signals.
    """

    def __init__(
        self,
        plan: Plan,
        states: dict[Cell, State],
        resolved: dict[str, Resolved],
        sources: str,
        display: Display,
        interrupt: Interrupt,
    ):
        self.plan, self.states, self.display = plan, states, display
        self.interrupt, self._resolved, self._sources = interrupt, resolved, sources
        left = [cell for cell in states if self.is_left(cell)]
        self.pace = Pace({c.run: resolved[c.variant].flops for c in left})

    def is_left(self, cell: Cell) -> bool:
        """Whether a cell is yet to be run."""
        return self.states[cell].word in TO_RUN

    def is_ready(self, cell: Cell) -> bool:
        """Whether a cell is left, and all that it is judged beside have been tried."""
        word = {each.run: state.word for each, state in self.states.items()}
        return self.is_left(cell) and all(word[run] in THROUGH for run in cell.rivals)

    def leave(self, cell: Cell) -> None:
        """Say of a cell that it was not run, for want of those before it."""
        if self.is_left(cell):
            waits = State(self.states[cell].word, "waits for those before it")
            self.states[cell] = waits
        self.say(cell)

    def steps(self, cell: Cell) -> int:
        """Of its training."""
        return self._resolved[cell.variant].steps

    def look(self, cell: Cell) -> State:
        """See once more what has become of a cell."""
        self.states[cell] = state_of(cell, self._sources)
        return self.states[cell]

    def tried(self, cell: Cell, found: Tried) -> None:
        """A cell was run: see what became of it, and say so."""
        state = self.look(cell)
        if found.failed and state.word != "running":  # by another, who was first
            state = State("failed", found.failed)
        self.states[cell] = state if cell.trial is None else trial_state(cell, state)
        self.pace.at(cell, 1.0)
        self.say(cell)

    def say(self, cell: Cell) -> None:
        """Say in a row what became of a cell, and why it failed."""
        state = self.states[cell]
        told = state.told
        if state.word == "ended":
            result = read_result(cell.run)
            scores = find_scores(result, "validation", "end")
            score = scores[measure_of(self.plan)]
            if cell.trial is not None:
                score = watched_score(cell, result)
            told = f"{score:10.4f}  {duration(result['seconds'])}"
        failed = state.word == "failed"
        said = row(self.plan, cell.title, state.word, "" if failed else told)
        self.display.message(said)
        if failed:
            self.display.message(told)


def one_after_another(
    work: Work, cells: tuple[Cell, ...], launch: Launch
) -> int | None:
    """Run those of some cells that are left, and say what became of each.

    Returns:
        The signal that stopped it, if one did.
    """
    for cell in cells:
        stopped = None
        if work.is_ready(cell):
            shown = CellDisplay(cell, work.steps(cell), work.pace)
            with closing(shown):
                shown.begin()
                found = attempt(cell.run, partial(launch, cell, shown))
            work.tried(cell, found)
            stopped = found.signal
        else:
            work.leave(cell)
        if stopped := stopped or work.interrupt.received:
            return stopped
    return None
