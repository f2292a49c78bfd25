"""Carry out a sweep: what is left of its plan, and what was found."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lm_jax.ablation.match import matched
from lm_jax.ablation.plan import Cell, Plan, make_plan
from lm_jax.ablation.plan_file import check_same, claim_plan, read_plan
from lm_jax.ablation.states import State, state_of
from lm_jax.ablation.study import Study
from lm_jax.ablation.tune import Chosen, choose, keep_chosen, trial_state, tuned
from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.platform import devices as all_devices
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.trials import PLAN
from lm_jax.statistics.report import Report, make_report
from lm_jax.sweeping.cells import Launch, Warm, run_cell
from lm_jax.sweeping.checks import (
    Resolved,
    check_disk,
    check_folder,
    check_together,
    existing,
    notes,
    resolve,
)
from lm_jax.sweeping.live import Board, row
from lm_jax.sweeping.shares import Share, shares
from lm_jax.sweeping.side_by_side import SideBySide
from lm_jax.sweeping.submitted import Submitted
from lm_jax.sweeping.together import Together
from lm_jax.sweeping.work import TO_RUN, Work, one_after_another
from lm_jax.training.guards import Interrupt


def sweep(
    experiments: Mapping[str, Any],
    folder: Path | str,
    study: Study = Study(),
    against: Mapping[str, str] | None = None,
    workers: int | None = None,
    together: int | None = None,
) -> Report:
    """Train experiments with several seeds each, and compare them seed by seed.

    What has ended is kept, what was stopped goes on: called again, it does the rest.

    Args:
        experiments: by name; the first is the reference.
        folder: of the runs; it keeps the plan, and no other.
        study: what is asked.
        against: what each is compared with, where that isn't the first.
        workers: processes that share the machine evenly; None runs one after another.
        together: runs that one program trains at once, of other seeds and schedules;
            None trains each alone.

    Returns:
        Scores and verdicts, and the state of each run.

    Raises:
        UserError: the plan isn't sound, or another one is in the folder.
    """
    folder, display = given_path(folder, "The sweep's folder"), Display(0)
    check_together(workers, together)
    plan = make_plan(experiments, folder, study, against)
    plan = replace(plan, workers=workers, together=together)
    return carry_out(matched(plan, display.work), display)


def carry_out(
    plan: Plan,
    display: Display,
    launch: Launch | Submitted | None = None,
) -> Report:
    """Do what is left of a plan, and report.

    What is tuned is tuned first; then all variants are trained with what was best.

    Args:
        plan: of the sweep.
        display: what a person sees.
        launch: trains a cell, one after another only; or has all of them trained
            elsewhere, and waits for none. `run_cell`, if none is given.

    Raises:
        UserError: as `sweep`.
    """
    given = [] if plan.workers is None else shares(plan.workers)
    devices = all_devices()[: given[0].devices] if given else None
    resolved = resolve(plan, display.work, devices)
    display.close()
    sources = _sources(plan)
    states, chosen = _begin(plan, resolved, sources)
    display = Board() if given or plan.together else display
    for note in notes(plan, resolved):
        display.message(note)
    display.message(row(plan, "run", "state", "at the end  time"))
    with Interrupt() as interrupt, _doing(plan, launch, given, display) as do:
        work = Work(plan, states, resolved, sources, display, interrupt)
        stopped = do(work, plan.trials)
        if chosen is None and plan.trials and stopped is None:
            chosen = choose(plan, states)
            states |= {} if chosen is None else _at_best(plan, chosen, sources)
        plan = plan if chosen is None else tuned(plan, chosen)
        if stopped is None and (chosen is not None or not plan.trials):
            stopped = do(work, plan.cells)
    states = {cell: states[cell] for cell in (*plan.trials, *plan.cells)}
    return make_report(plan, states, chosen, stopped)


def to_submit(plan: Plan, submitted: Submitted, display: Display) -> str:
    """What `carry_out` would submit now; nothing is changed.

    A scheduler that doesn't answer is no obstacle to that: it is said on the display.

    Raises:
        UserError: nothing is left to be submitted.
    """
    states, chosen = look(plan, _sources(plan))
    tuning = chosen is None and bool(plan.trials)
    left = [
        cell
        for cell, state in states.items()
        if state.word in TO_RUN and (cell.trial is not None or not tuning)
    ]
    try:
        left = submitted.left(left)
    except UserError as error:
        display.message(f"{error} What it has already is not left out here.")
    if not left:
        raise UserError(f"{plan.folder}: nothing is left to submit.")
    return submitted.text(left)


@contextmanager
def _doing(
    plan: Plan,
    launch: Launch | Submitted | None,
    given: list[Share],
    display: Display,
) -> Iterator[Callable[[Work, tuple[Cell, ...]], int | None]]:
    """What runs some cells of a plan: here, or in processes that end with this one."""
    if isinstance(launch, Submitted):
        yield launch.do
    elif isinstance(display, Board) and plan.together:
        yield Together(plan.together, display).do
    elif isinstance(display, Board):
        with SideBySide(plan.folder, given, display) as processes:
            yield processes.do
    else:
        launch = launch or partial(run_cell, warm=Warm())
        yield partial(one_after_another, launch=launch)


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
    states, chosen = look(plan, sources)
    left = [cell for cell, state in states.items() if state.word in TO_RUN]
    if not new:
        check_same(plan, any_code=not left)
    check_folder(states, new)
    check_disk(plan, left, resolved, existing(plan.folder))
    claim_plan(plan, any_code=not left)
    if chosen is not None:
        keep_chosen(tuned(plan, chosen), chosen)
    return states, chosen


def look(
    plan: Plan, sources: str
) -> tuple[dict[Cell, State], dict[str, Chosen] | None]:
    """The states of all cells, and what was tuned already; nothing is changed."""
    states = {c: trial_state(c, state_of(c, sources)) for c in plan.trials}
    chosen = choose(plan, states) if plan.trials else None
    if plan.trials and chosen is None:
        # Their recipes are not known yet.
        return states | {cell: State("missing") for cell in plan.cells}, None
    cells = plan.cells if chosen is None else tuned(plan, chosen).cells
    return states | {cell: state_of(cell, sources) for cell in cells}, chosen


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
