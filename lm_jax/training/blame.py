"""What led to a step that went wrong, in a folder from which it is made again."""

import json
import shlex
import shutil
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.data import Fed, digest_of
from lm_jax.data.texts import texts
from lm_jax.distributed import meet, several, writes
from lm_jax.errors import Diverged, UserError
from lm_jax.files import atomic_write, writing
from lm_jax.platform import called
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.numbers import decoded, encoded
from lm_jax.selectors import path_name
from lm_jax.sharding import to_mesh
from lm_jax.training.progress import Progress
from lm_jax.training.resolved import Setup
from lm_jax.training.restart import before, save_state
from lm_jax.training.state import TrainState

STATISTICS, BATCH = "statistics.json", "batch.npz"
Row = dict[str, float | int]


class Blamed(NamedTuple):
    """A step that went wrong, as it was kept.

    Attributes:
        step: which.
        row: what came out, as metrics.jsonl has it.
        fed: its batch.
    """

    step: int
    row: Row
    fed: Fed


class Spikes:
    """Tells a step whose loss or gradient's norm is far above those before it.

    Args:
        factor: how many times the median of the last 100 steps; None tells none.
    """

    window, fewest, most = 100, 20, 3

    def __init__(self, factor: float | None):
        self._factor, self._told = factor, 0
        self._last: dict[str, deque[float]] = {
            name: deque(maxlen=self.window) for name in ("loss", "grad_norm")
        }

    def told(self, row: Row) -> str:
        """Say what of a step is a spike; "" where nothing is, or `most` were said."""
        if self._factor is None:
            return ""
        found = ""
        for name, last in self._last.items():
            usual = median(last) if len(last) >= self.fewest else 0.0
            if row[name] > self._factor * usual > 0:
                found = found or (
                    f"{name.replace('_', ' ')} {row[name]:.4g} is more than "
                    f"{self._factor:g} times {usual:.4g}, the median of the "
                    f"{len(last)} steps before"
                )
            last.append(row[name])
        self._told += bool(found)
        return found if self._told <= self.most else ""


def save_spike(
    setup: Setup,
    train_step: Any,
    progress: Progress,
    checkpoints: Checkpoints,
    folder: Path,
    blamed: Blamed,
) -> str:
    """Save what led to a spike: the state before, the batch, statistics.

    The state is made again from the last checkpoint. The folder has its name once it
    is whole: one that a killed process left is hidden, and made anew.

    Args:
        setup, train_step, progress, checkpoints: of the run.
        folder: gets all of it.
        blamed: the step.

    Returns:
        Where it is, and how the step is made again.
    """
    state = before(setup, train_step, checkpoints, blamed.step)
    part = folder.with_name(f".{folder.name}.part")
    if writes():
        shutil.rmtree(part, ignore_errors=True)
    meet("the folder of a spike is begun")
    saved = Checkpoints(part / "checkpoints", keep=1, left=checkpoints.left)
    save_state(blamed.step - 1, setup.to_saved(state), progress, saved)
    saved.close()
    _save(setup, state, part, blamed)
    if writes():
        with writing(folder):
            # Of an earlier version there may be a half of it.
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
    return f"The state before, the batch and statistics: {_again(folder)}"


def diverged(
    setup: Setup,
    state: TrainState,
    progress: Progress,
    checkpoints: Checkpoints,
    folder: Path,
    blamed: Blamed,
) -> NoReturn:
    """Save what led to a step that isn't finite: the state before, the batch; raise.

    Args:
        setup, progress, checkpoints: of the run; the state is saved there.
        state: as it was left.
        folder: gets the batch and statistics.
        blamed: the step.

    Raises:
        Diverged: always.
    """
    mended = state.replace(finite=jax.device_put(True, setup.shardings.finite))
    save_state(int(state.step), setup.to_saved(mended), progress, checkpoints)
    checkpoints.wait()
    _save(setup, state, folder, blamed)
    skipped = progress.in_row
    many = f", after {skipped} in a row that were skipped" if skipped else ""
    raise Diverged(
        f"The loss, gradient or update of step {blamed.step} is not finite{many}. The "
        f"state before it is checkpoint {int(state.step)}. A lower learning rate "
        "(--schedule.peak), a longer warmup or optimizer.clip often helps; where the "
        "gradient is finite there, look at the optimizer's own numbers "
        "(--optimizer.b1 and the like). To leave out single steps: --skip-bad-steps "
        f"10. The batch and the statistics of each parameter: {_again(folder)}"
    )


def _again(folder: Path) -> str:
    """Where a step is kept, and the command that makes it again."""
    where = shlex.quote(str(folder))
    return f"{folder}. To make the step again:\n  {called()} replay {where}"


def _save(setup: Setup, state: TrainState, folder: Path, blamed: Blamed) -> None:
    """Save a batch as arrays and text, and statistics of the state before it."""
    if writes():
        _save_batch(setup, folder, blamed)
    # All processes compute it.
    layers = _statistics(state.params, _gradient(setup, state, blamed.fed))
    report = {"step": blamed.step, "row": blamed.row, "layers": layers}
    if writes():
        atomic_write(folder / STATISTICS, json.dumps(encoded(report), indent=1))


def _save_batch(setup: Setup, folder: Path, blamed: Blamed) -> None:
    # Of several processes each was fed a share.
    rows = setup.order.batch(blamed.step - 1) if several() else blamed.fed.rows
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in rows.items()}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / BATCH, **arrays)
    atomic_write(folder / "batch.txt", _decoded(setup, rows))


def _decoded(setup: Setup, rows: dict) -> str:
    """The text of a batch; what no text has may be what is wrong with it."""
    try:
        found = texts(setup.data.tokenizer, rows)
    except (IndexError, KeyError, ValueError) as error:
        return f"The batch is no text: {error!r}.\n"
    return "".join(f"--- row {k} ---\n{text}\n" for k, text in enumerate(found))


def _gradient(setup: Setup, state: TrainState, fed: Fed) -> Any:
    """The gradient that a step took, summed over its batch."""
    gradients = jax.jit(setup.gradients())
    batch = to_mesh(fed.rows, setup.mesh)
    (*_, gradient), _ = gradients(state, batch, setup.constants())
    return gradient


def _statistics(params: Any, gradient: Any) -> dict[str, dict[str, dict[str, float]]]:
    """Of each parameter and its gradient: size, and entries that aren't finite."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, tree in (("parameter", params), ("gradient", gradient)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            found.setdefault(path_name(path), {})[kind] = {
                "rms": float(jnp.sqrt(jnp.mean(jnp.square(leaf)))),
                "largest": float(jnp.max(jnp.abs(leaf))),
                "not_finite": int(jnp.sum(~jnp.isfinite(leaf))),
            }
    return found


def read_blamed(folder: Path) -> Blamed:
    """What was kept of a step.

    Raises:
        UserError: it can't be read.
    """
    try:
        report = json.loads((folder / STATISTICS).read_text("utf-8"))
        row = {name: decoded(value) for name, value in report["row"].items()}
        with np.load(folder / BATCH) as arrays:
            batch = dict(arrays.items())
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder} holds no step to make again: {error}.") from error
    return Blamed(report["step"], row, Fed(batch, digest_of(batch.items())))
