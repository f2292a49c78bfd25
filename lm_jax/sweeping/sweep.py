"""Carry out a sweep: one cell after another, in one warm process."""

import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lm_jax.ablation.match import matched
from lm_jax.ablation.plan import Cell, Plan, make_plan
from lm_jax.ablation.plan_file import PLAN, check_same, claim_plan, read_plan
from lm_jax.ablation.states import State, state_of
from lm_jax.ablation.study import Study
from lm_jax.ablation.tune import (
    THROUGH,
    Chosen,
    choose,
    keep_chosen,
    pruner_of,
    trial_state,
    tuned,
    watched_score,
)
from lm_jax.errors import Diverged, UserError
from lm_jax.experiment import digest
from lm_jax.files import given_path
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.figures import duration
from lm_jax.runs.result import find_scores, read_result
from lm_jax.statistics.report import Report, make_report, measure_of
from lm_jax.sweeping.checks import (
    Resolved,
    check_disk,
    check_folder,
    existing,
    notes,
    resolve,
)
from lm_jax.sweeping.live import CellDisplay, Pace, row
from lm_jax.training.compiled import Compiled
from lm_jax.training.guards import Interrupt
from lm_jax.training.run import train_run
from lm_jax.training.setup import Setup, set_up

# What is yet to be trained; "failed": it was begun, and something in it is damaged.
_TO_RUN = ("missing", "stopped", "failed")
# Runs a cell in its directory, to its end or until a signal, which it gives.
Launch = Callable[[Cell, Display], int | None]


def sweep(
    experiments: Mapping[str, Any],
    folder: Path | str,
    study: Study = Study(),
    against: Mapping[str, str] | None = None,
) -> Report:
    """Train experiments with several seeds each, and compare them seed by seed.

    What has ended is kept, what was stopped goes on: called again, it does the rest.

    Args:
        experiments: by name; the first is the reference.
        folder: of the runs; it keeps the plan, and no other.
        study: what is asked.
        against: what each is compared with, where that isn't the first.

    Returns:
        Scores and verdicts, and the state of each run.

    Raises:
        UserError: the plan isn't sound, or another one is in the folder.
    """
    folder, display = given_path(folder, "The sweep's folder"), Display(0)
    plan = matched(make_plan(experiments, folder, study, against), display.work)
    return carry_out(plan, display)


class Warm:
    """What the runs of a variant share in a process: its compiled functions."""

    def __init__(self) -> None:
        # Of each variant the last: what is tuned is compiled for each value.
        self._kept: dict[str, tuple[Any, Compiled]] = {}

    def compiled(self, cell: Cell, setup: Setup) -> Compiled:
        """The functions of a cell, compiled by an earlier one if there was one."""
        # A run that goes on has not read what its first parameters begin with.
        about = digest(cell.experiment), setup.start is None
        known = self._kept.get(cell.variant)
        if known is None or known[0] != about:
            known = self._kept[cell.variant] = about, Compiled(setup)
        return known[1]


def run_cell(cell: Cell, display: Display, warm: Warm | None = None) -> int | None:
    """Train a cell, from its last checkpoint if it has one.

    It needs nothing but the cell: other launchers call it in other processes.

    Returns:
        The signal that stopped it, if one did.

    Raises:
        UserError: it can't be trained.
        Diverged: a number was not finite.
    """
    fresh = not has_checkpoint(cell.run)
    setup = set_up(cell.experiment, progress=display.work, fresh=fresh)
    compiled = None if warm is None else warm.compiled(cell, setup)
    prune = pruner_of(cell)
    return train_run(cell.experiment, cell.run, setup, display, compiled, prune).signal


def carry_out(plan: Plan, display: Display, launch: Launch | None = None) -> Report:
    """Do what is left of a plan, and report.

    What is tuned is tuned first; then all variants are trained with what was best.

    Args:
        plan: of the sweep.
        display: what a person sees.
        launch: trains a cell; `run_cell`, if none is given.

    Raises:
        UserError: as `sweep`.
    """
    launch = launch or partial(run_cell, warm=Warm())
    resolved = resolve(plan, display.work)
    display.close()
    sources = _sources(plan)
    states, chosen = _begin(plan, resolved, sources)
    for note in notes(plan, resolved):
        display.message(note)
    display.message(row(plan, "run", "state", "at the end  time"))
    with Interrupt() as interrupt:
        work = _Work(plan, states, resolved, sources, launch, display, interrupt)
        stopped = work.do(plan.trials)
        if chosen is None and plan.trials and stopped is None:
            chosen = choose(plan, states)
            states |= {} if chosen is None else _at_best(plan, chosen, sources)
        plan = plan if chosen is None else tuned(plan, chosen)
        if stopped is None and (chosen is not None or not plan.trials):
            stopped = work.do(plan.cells)
    states = {cell: states[cell] for cell in (*plan.trials, *plan.cells)}
    return make_report(plan, states, chosen, stopped)


class _Work:
    """What is left to do, and how it is done.

    Args:
        plan: of the sweep.
        states: of its cells; those that are run are put in.
        resolved: what each variant's runs amount to.
        sources: the code that counts.
        launch: trains a cell.
        display: what a person sees.
        interrupt: tells of signals.
    """

    def __init__(
        self,
        plan: Plan,
        states: dict[Cell, State],
        resolved: dict[str, Resolved],
        sources: str,
        launch: Launch,
        display: Display,
        interrupt: Interrupt,
    ):
        self._plan, self._states, self._resolved = plan, states, resolved
        self._sources, self._launch = sources, launch
        self._display, self._interrupt = display, interrupt
        left = [cell for cell, state in states.items() if state.word in _TO_RUN]
        self._pace = Pace({c.run: resolved[c.variant].flops for c in left})

    def do(self, cells: tuple[Cell, ...]) -> int | None:
        """Run those that are left, and say what became of each.

        Returns:
            The signal that stopped it, if one did.
        """
        for cell in cells:
            stopped, left = None, self._states[cell].word in _TO_RUN
            if left and not self._rivals_through(cell):
                waits = State(self._states[cell].word, "waits for those before it")
                self._states[cell] = waits
            elif left:
                self._pace.begin(cell)
                steps = self._resolved[cell.variant].steps
                shown = CellDisplay(cell.title, steps, self._pace)
                shown.begin()
                found = _run(cell, self._launch, shown, self._sources)
                self._states[cell], stopped = found
            _say(cell, self._states[cell], self._plan, self._display)
            if stopped := stopped or self._interrupt.received:
                return stopped
        return None

    def _rivals_through(self, cell: Cell) -> bool:
        """Whether the trials that a trial is judged beside have all been tried."""
        word = {each.run: state.word for each, state in self._states.items()}
        return all(word[run] in THROUGH for run in cell.rivals)


def _sources(plan: Plan) -> str:
    """The code that counts: that of the plan in the folder, or else this one."""
    path = plan.folder / PLAN
    before = read_plan(path) if path.exists() else None
    return str((before["code"] if before else own_code())["sources"])


def _begin(
    plan: Plan, resolved: dict[str, Resolved], sources: str
) -> tuple[dict[Cell, State], dict[str, Chosen] | None]:
    """Claim the folder; the states of all cells, and what was tuned already.

    A sweep whose cells have all ended is shown by any code: it trains nothing.

    Raises:
        UserError: the folder holds another sweep, or other runs; the disk is too small.
    """
    new = not (plan.folder / PLAN).exists()
    states = {c: trial_state(c, state_of(c, sources)) for c in plan.trials}
    chosen = choose(plan, states) if plan.trials else None
    if chosen is not None:
        states |= _at_best(plan, chosen, sources)
    elif plan.trials:
        # Their recipes are not known yet.
        states |= {cell: State("missing") for cell in plan.cells}
    else:
        states |= {cell: state_of(cell, sources) for cell in plan.cells}
    left = [cell for cell, state in states.items() if state.word in _TO_RUN]
    if not new:
        check_same(plan, any_code=not left)
    check_folder(states, new)
    check_disk(plan, left, resolved, existing(plan.folder))
    claim_plan(plan, any_code=not left)
    return states, chosen


def _at_best(plan: Plan, chosen: dict[str, Chosen], sources: str) -> dict[Cell, State]:
    """The states of what is compared, with the values that were chosen: kept now.

    Raises:
        UserError: runs of other recipes stand there.
    """
    at_best = tuned(plan, chosen)
    states = {cell: state_of(cell, sources) for cell in at_best.cells}
    check_folder(states, new=False)
    keep_chosen(at_best, chosen)
    return states


def _run(
    cell: Cell, launch: Launch, display: Display, sources: str
) -> tuple[State, int | None]:
    """Run a cell; what went wrong is its state, and the sweep goes on."""
    try:
        signal = launch(cell, display)
    except (UserError, Diverged) as error:
        failed = State("failed", str(error))
        return (failed if cell.trial is None else trial_state(cell, failed)), None
    except Exception as error:
        # A fault of ours must not take the other cells with it.
        log = cell.run / "failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), "utf-8")
        return State("failed", f"{type(error).__name__}: {error} ({log})"), None
    finally:
        display.close()
    state = state_of(cell, sources)
    return (state if cell.trial is None else trial_state(cell, state)), signal


def _say(cell: Cell, state: State, plan: Plan, display: Display) -> None:
    """Say in a row what became of a cell, and why it failed."""
    told = state.told
    if state.word == "ended":
        result = read_result(cell.run)
        scores = find_scores(result, "validation", "end")
        score = scores[measure_of(plan)]
        if cell.trial is not None:
            score = watched_score(cell, result)
        told = f"{score:10.4f}  {duration(result['seconds'])}"
    failed = state.word == "failed"
    display.message(row(plan, cell.title, state.word, "" if failed else told))
    if failed:
        display.message(told)
