"""Steps of a run made again, and compared with what the run wrote of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lm_jax.averages import checkpoints_of
from lm_jax.data import Fed, digest_of, feed
from lm_jax.errors import UserError
from lm_jax.experiment import read
from lm_jax.runs.checkpoints import Checkpoints, steps_of
from lm_jax.runs.claim import check_data
from lm_jax.runs.ledger import NAMES, differing, digest_of_parameters, ledger, told
from lm_jax.runs.metrics import read_metrics
from lm_jax.selectors import path_name
from lm_jax.sharding import to_mesh
from lm_jax.training.blame import read_blamed
from lm_jax.training.compiled import Compiled
from lm_jax.training.progress import Progress
from lm_jax.training.resolved import Setup
from lm_jax.training.restart import rescaled, restored
from lm_jax.training.setup import CACHE, set_up
from lm_jax.training.state import TrainState

Tell = Callable[[str, int, int], None]
Row = dict[str, float | int]
Rows = dict[int, Row]


class Again(NamedTuple):
    """How steps came out that were made again.

    Attributes:
        start: the step of the checkpoint that they were made from; 0 is the
            beginning.
        step: the last that was made.
        row: what came out of it, as metrics.jsonl has it.
        difference: where it first was another than before, in words; "" if nowhere.
        compared: which of `NAMES` the run had written of the steps.
        remark: what else should be known, or "".
    """

    start: int
    step: int
    row: Row
    difference: str
    compared: set[str]
    remark: str = ""


@dataclass(frozen=True)
class Written:
    """What a run keeps by which its steps can be made again.

    Attributes:
        setup: of the run.
        checkpoints: of the run.
        rows: of each step; see `ledger`.
    """

    setup: Setup
    checkpoints: Checkpoints
    rows: Rows


def replay(run: Path, step: int, tell: Tell | None = None) -> Again:
    """Make a step of a run again, from the nearest checkpoint before it.

    All steps from there on are compared: batch, loss, gradient's norm and, where the
    run wrote them, parameters.

    Args:
        run: its directory.
        step: which, from 1.
        tell: told (description, done, total).

    Raises:
        UserError: the run has written nothing of that step; its text is another now;
            a checkpoint is damaged.
    """
    rows = rows_of(run)
    last = max(rows, default=0)
    if not 1 <= step <= last:
        raise UserError(f"--step {step}: {run} has written of steps 1 to {last}.")
    start = max((s for s in steps_of(run) if s < step), default=0)
    return made_again(opened(run, rows, start == 0, tell), start, step, tell)


def replay_kept(folder: Path, tell: Tell | None = None) -> Again:
    """Make a step again that went wrong, on the batch that was kept.

    Args:
        folder: in a run, as `lm_jax.training.blame` writes it.
        tell: told (description, done, total).

    Raises:
        UserError: as `replay`, or the folder can't be read.
    """
    blamed, run = read_blamed(folder), folder.parent
    rows = rows_of(run) | {blamed.step: blamed.row}
    own = steps_of(folder)
    start = max((s for s in own or steps_of(run) if s < blamed.step), default=0)
    written = opened(run, rows, start == 0, tell)
    if own:
        there = checkpoints_below(folder, written.setup)
        written = replace(written, checkpoints=there)
    again = made_again(written, start, blamed.step, tell, blamed.fed)
    batch = written.setup.order.batch(blamed.step - 1)
    if digest_of(batch.items()) == blamed.fed.digest:
        return again
    remark = f"For step {blamed.step} the data gives another batch than was kept."
    return again._replace(remark=remark)


def verify(run: Path, steps: int | None = None, tell: Tell | None = None) -> Again:
    """Make the stretch between the last two checkpoints of a run again.

    Args:
        run: its directory; with one checkpoint, the stretch is from the beginning.
        steps: make so many at most.
        tell: told (description, done, total).

    Raises:
        UserError: there is no checkpoint, or as `replay`.
    """
    kept = steps_of(run)
    if not kept or kept[-1] == 0:
        raise UserError(f"{run} has no checkpoint yet: there is nothing to verify.")
    start, last = (0, *kept)[-2:]
    if steps is not None:
        last = min(last, start + steps)
    written = opened(run, rows_of(run), start == 0, tell)
    return made_again(written, start, last, tell)


def rows_of(run: Path) -> Rows:
    """What a run wrote of each step.

    Raises:
        UserError: it was not trained by steps, or not at all.
    """
    if not read(run).in_steps:
        raise UserError(
            f"{run} was fitted by counting its whole training split, without steps."
        )
    return ledger(read_metrics(run / "metrics.jsonl"))


def opened(run: Path, rows: Rows, fresh: bool, tell: Tell | None = None) -> Written:
    """Set a run up as it was trained.

    Args:
        run: its directory.
        rows: that it wrote.
        fresh: whether its first parameters are needed.
        tell: told (description, done, total).

    Raises:
        UserError: its text is another now, or can't be read.
    """
    experiment: Any = read(run)
    check_data(experiment.data.prepare(CACHE, tell), run)
    setup = set_up(experiment, progress=tell, fresh=fresh, run=run)
    return Written(setup, checkpoints_below(run, setup), rows)


def checkpoints_below(folder: Path, setup: Setup) -> Checkpoints:
    """The checkpoints of a folder; nothing of them is changed."""
    before, left = checkpoints_of(setup.experiment.average), setup.left_arrays
    return Checkpoints(folder / "checkpoints", 1 << 30, averaged=before, left=left)


def made_again(
    written: Written,
    start: int,
    last: int,
    tell: Tell | None = None,
    kept: Fed | None = None,
) -> Again:
    """Make steps from a checkpoint again, until one comes out otherwise.

    Where the last one has a checkpoint, all arrays of the state are compared with it.

    Args:
        written: what the run keeps.
        start: the step of the checkpoint; 0 is the beginning.
        last: the step to make last.
        tell: told (description, done, total).
        kept: the batch of the last step, where it was kept.

    Raises:
        UserError: a checkpoint is damaged.
    """
    setup, compared = written.setup, set[str]()
    state, progress = _begun(written, start)
    train_step, constants = Compiled(setup).step, setup.constants()
    batches = feed(setup.order, start, last if kept is None else last - 1)
    for step in range(start + 1, last + 1):
        fed = kept if kept is not None and step == last else next(batches)
        state, metrics = train_step(state, to_mesh(fed.rows, setup.mesh), constants)
        then = written.rows.get(step, {})
        row: Row = {"batch": fed.digest}
        row |= {name: float(metrics[name]) for name in ("loss", "grad_norm")}
        if "parameters" in then:  # all of them are read for it
            digest = digest_of_parameters(setup.to_saved(state).params)
            row |= {} if digest is None else {"parameters": digest}
        compared |= then.keys() & row.keys()
        if tell is not None:
            tell("making steps again", step - start, last - start)
        if name := differing(then, row):
            said = f"{told(name, then[name])} then, {told(name, row[name])} now."
            said = f"Step {step} differs, first in {NAMES[name]}: {said}"
            return Again(start, step, row, said + _unlike(written, state), compared)
        state = _answered(setup, state, progress, step, then)
    return Again(start, last, row, _unlike(written, state).strip(), compared)


def _begun(written: Written, step: int) -> tuple[TrainState, Progress]:
    """The state after a step that has a checkpoint, or the first one."""
    if not step:
        return written.setup.first_state(), Progress()
    return restored(written.setup, written.checkpoints, step)


def _answered(
    setup: Setup, state: TrainState, progress: Progress, step: int, then: dict
) -> TrainState:
    """Let schedule and average answer to what the run's evaluation found."""
    watch = setup.experiment.watch
    evaluation = setup.experiment.evaluations[watch]
    score = then.get(f"validation_{evaluation.watched}")
    if score is None or (step % setup.every[watch] and step != setup.total):
        return state
    progress.add(step, score, evaluation.larger_is_better)
    return rescaled(setup, state, progress)


def _unlike(written: Written, state: TrainState) -> str:
    """Say which arrays of a state its checkpoint has otherwise; "" where none."""
    step = int(state.step)
    # A step that wasn't finite has left the state as it was, and said so in it.
    if step not in written.checkpoints.steps() or not state.finite:
        return ""
    stored, _ = _begun(written, step)
    pairs = zip(jax.tree.leaves_with_path(state), jax.tree.leaves(stored), strict=True)
    apart = {
        path_name(path): float(np.max(np.abs(np.subtract(now, then, dtype=float))))
        for (path, now), then in pairs
        if np.asarray(now).tobytes() != np.asarray(then).tobytes()
    }
    if not apart:
        return ""
    most = max(apart, key=lambda name: apart[name])
    return (
        f" Of the state's arrays {len(apart)} differ from checkpoint {step}, most "
        f"{most}: by {apart[most]:.3g}."
    )
