"""Remove checkpoints that nothing goes by: all but a run's best and last.

Those that adapters of other runs stand on stay too.
"""

import os
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import writing
from lm_jax.runs.base import adapted_steps
from lm_jax.runs.checkpoints import read_progress
from lm_jax.runs.directory import experiment_json, in_use, open_run
from lm_jax.runs.figures import size
from lm_jax.runs.sealed import verify

_GONE = ".pruned-"  # what is being deleted no longer stands among the checkpoints


@dataclass(frozen=True)
class Spare:
    """Checkpoints of a run that can go.

    Attributes:
        run: its directory.
        steps: of the checkpoints that can go.
        best: step of the best, which stays.
        last: step of the last, which stays.
        left: of a removal that was broken off: folders that go too.
        bytes: that would be free.
    """

    run: Path
    steps: tuple[int, ...] = ()
    best: int | None = None
    last: int | None = None
    left: tuple[Path, ...] = ()
    bytes: int = 0

    @property
    def told(self) -> str:
        """What goes and what stays, for people."""
        gone = [f"checkpoints {', '.join(map(str, self.steps))}"] * bool(self.steps)
        gone += ["what a removal that was broken off has left"] * bool(self.left)
        said = f"{' and '.join(gone)}: {size(self.bytes)}"
        best = [f"{self.best} (best)"] * (self.best not in (None, self.last))
        kept = f"; kept: {', '.join([*best, f'{self.last} (last)'])}"
        return said + kept * bool(self.steps)


def spare(run: Path) -> Spare:
    """Find what can go; nothing is changed.

    Raises:
        UserError: why nothing of the run may be touched: it is in use, something in it
            can't be read, or its weights are the mean of several checkpoints.
    """
    used = in_use(run)
    if used is None:
        raise UserError(f"{run}: whether it is in use can't be told; no locks there.")
    if used:
        raise UserError(f"{run} is in use.")
    return _spare(run)


def _spare(run: Path) -> Spare:
    found, left = _checkpoints(run), tuple(sorted(run.glob(f"{_GONE}*")))
    gone = [run / "checkpoints" / str(step) for step in found.steps]
    files = (path for folder in (*gone, *left) for path in folder.rglob("*"))
    used = sum(path.lstat().st_size for path in files if path.is_file())
    return replace(found, left=left, bytes=used)


def _checkpoints(run: Path) -> Spare:
    folder = run / "checkpoints"
    averages = _averages(run)
    if not folder.is_dir():
        return Spare(run)
    steps = sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    if len(steps) < 2:
        return Spare(run)
    last = steps[-1]
    best = read_progress(folder / str(last))["best"]
    stay = {best, last, *adapted_steps(run)}
    gone = tuple(step for step in steps if step not in stay)
    if gone and averages:
        raise UserError(f"{run} averages its last checkpoints: all are needed.")
    for step in steps if gone else ():
        # What stays must be whole before anything goes.
        verify(folder / str(step), () if step in gone else None)
    return Spare(run, gone, best if best in steps else None, last)


def _averages(run: Path) -> bool:
    """Whether a run uses the mean of its last checkpoints.

    Raises:
        UserError: its experiment can't be read.
    """
    return "LastCheckpoints" in str(experiment_json(run)["experiment"].get("average"))


def remove(found: Spare) -> None:
    """Delete what `spare` found, if that is still what can go.

    The run is held meanwhile. A checkpoint leaves its place in one move, so that what
    ends half-way leaves no half checkpoint.

    Raises:
        UserError: the run is in use by now, was changed, or can't be written.
    """
    with open_run(found.run), writing(found.run):
        if _spare(found.run) != found:
            raise UserError(f"{found.run} has other checkpoints than a moment ago.")
        for step in found.steps:
            place = found.run / f"{_GONE}{uuid.uuid4().hex[:8]}"
            os.rename(found.run / "checkpoints" / str(step), place)
        for rest in found.run.glob(f"{_GONE}*"):
            shutil.rmtree(rest)
