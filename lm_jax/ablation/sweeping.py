"""Carry out a sweep: one cell after another, in one warm process."""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lm_jax.ablation.checks import (
    Resolved,
    check_disk,
    check_folder,
    existing,
    notes,
    resolve,
)
from lm_jax.ablation.live import CellDisplay, Pace, row
from lm_jax.ablation.plan import (
    PLAN,
    Cell,
    Plan,
    check_same,
    claim_plan,
    make_plan,
    read_plan,
)
from lm_jax.ablation.report import Report, make_report, measure_of
from lm_jax.ablation.states import State, state_of
from lm_jax.ablation.study import Study
from lm_jax.errors import Diverged, UserError
from lm_jax.files import given_path
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.figures import duration
from lm_jax.runs.result import find_scores, read_result
from lm_jax.training.guards import Interrupt
from lm_jax.training.run import train_run
from lm_jax.training.setup import set_up

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
    folder = given_path(folder, "The sweep's folder")
    return carry_out(make_plan(experiments, folder, study, against), Display(0))


def run_cell(cell: Cell, display: Display) -> int | None:
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
    return train_run(cell.experiment, cell.run, setup, display).signal


def carry_out(plan: Plan, display: Display, launch: Launch = run_cell) -> Report:
    """Do what is left of a plan, and report.

    Args:
        plan: of the sweep.
        display: what a person sees.
        launch: trains a cell.

    Raises:
        UserError: as `sweep`.
    """
    resolved = resolve(plan, display.work)
    display.close()
    states, sources = _begin(plan, resolved)
    for note in notes(plan, resolved):
        display.message(note)
    display.message(row(plan, "run", "state", "at the end  time"))
    left = {cell for cell, state in states.items() if state.word in _TO_RUN}
    pace = Pace({cell: resolved[cell.variant].flops for cell in left})
    stopped = None
    with Interrupt() as interrupt:
        for cell in plan.cells:
            if cell in left:
                pace.begin(cell)
                steps = resolved[cell.variant].steps
                shown = CellDisplay(cell.title, steps, pace)
                shown.begin()
                states[cell], stopped = _run(cell, launch, shown, sources)
            _say(cell, states[cell], plan, display)
            stopped = stopped or interrupt.received
            if stopped is not None:
                break
    return make_report(plan, states, stopped)


def _begin(plan: Plan, resolved: dict[str, Resolved]) -> tuple[dict[Cell, State], str]:
    """Claim the folder; the states of all cells, and the code that counts.

    A sweep whose cells have all ended is shown by any code: it trains nothing.

    Raises:
        UserError: the folder holds another sweep, or other runs; the disk is too small.
    """
    path = plan.folder / PLAN
    before = read_plan(path) if path.exists() else None
    sources = (before["code"] if before else own_code())["sources"]
    states = {cell: state_of(cell, sources) for cell in plan.cells}
    left = [cell for cell, state in states.items() if state.word in _TO_RUN]
    if before is not None:
        check_same(plan, any_code=not left)
    check_folder(states, new=before is None)
    check_disk(plan, left, resolved, existing(plan.folder))
    claim_plan(plan, any_code=not left)
    return states, sources


def _run(
    cell: Cell, launch: Launch, display: Display, sources: str
) -> tuple[State, int | None]:
    """Run a cell; what went wrong is its state, and the sweep goes on."""
    try:
        signal = launch(cell, display)
    except (UserError, Diverged) as error:
        return State("failed", str(error)), None
    except Exception as error:
        # A fault of ours must not take the other cells with it.
        log = cell.run / "failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), "utf-8")
        return State("failed", f"{type(error).__name__}: {error} ({log})"), None
    finally:
        display.close()
    return state_of(cell, sources), signal


def _say(cell: Cell, state: State, plan: Plan, display: Display) -> None:
    """Say in a row what became of a cell, and why it failed."""
    told = state.told
    if state.word == "ended":
        result = read_result(cell.run)
        scores = find_scores(result, "validation", "end")
        score = scores[measure_of(plan)]
        told = f"{score:10.4f}  {duration(result['seconds'])}"
    failed = state.word == "failed"
    display.message(row(plan, cell.title, state.word, "" if failed else told))
    if failed:
        display.message(told)
