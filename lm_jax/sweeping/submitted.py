"""Cells of a sweep on a cluster: each a task of its own, submitted and left to it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lm_jax.ablation.plan import Cell, Plan
from lm_jax.ablation.states import State
from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.processes import last_line
from lm_jax.scaling.kubernetes import kubernetes_array
from lm_jax.scaling.needs import Needs, Tasks, job_name
from lm_jax.scaling.slurm import in_queue, slurm_array, submit
from lm_jax.sweeping.cells import FAILED
from lm_jax.sweeping.work import Work
from lm_jax.sweeping.worker import hand_over

CLUSTERS: dict[str, Callable[[Tasks, Needs], str]] = {
    "slurm": slurm_array,
    "kubernetes": kubernetes_array,
}
MANIFEST = "kubernetes.json"


class Submitted:
    """Submits the cells that are left, and waits for none of them.

    Args:
        plan: of the sweep; its `on` says where to.
        needs: of each cell.
        at_once: how many cells may be trained at once; None leaves it to the cluster.
    """

    def __init__(self, plan: Plan, needs: Needs, at_once: int | None):
        self._plan, self._needs, self._at_once = plan, needs, at_once
        self._name = job_name("sweep", plan.folder, plan.folder.name)
        names = [cell.name for cell in (*plan.trials, *plan.cells)]
        self._numbers = {name: number for number, name in enumerate(names)}

    def text(self, cells: Sequence[Cell]) -> str:
        """What would be sent for some cells."""
        folder, numbers = self._plan.folder, [self._numbers[c.name] for c in cells]
        words = ["-m", "lm_jax.sweeping.task", str(folder)]
        log, write = folder / "cell_%a.log", CLUSTERS[str(self._plan.on)]
        tasks = Tasks(self._name, words, numbers, log, self._at_once)
        return write(tasks, self._needs)

    def left(self, work_left: Sequence[Cell]) -> list[Cell]:
        """Those of some cells that no task waits for or trains.

        Raises:
            UserError: SLURM can't be asked.
        """
        if self._plan.on != "slurm":
            return list(work_left)
        there = in_queue(self._name)
        return [cell for cell in work_left if self._numbers[cell.name] not in there]

    def do(self, work: Work, cells: tuple[Cell, ...]) -> None:
        """Submit those that are left and not submitted yet; say where each stands.

        Raises:
            UserError: they can't be submitted.
        """
        to_run = [cell for cell in cells if work.is_left(cell)]
        begun, refused = [], {}
        for cell in self.left(to_run):
            try:
                hand_over(cell)
                begun.append(cell)
            except UserError as error:
                refused[cell] = State("failed", str(error))
        if begun:
            work.display.message(self._send(begun))
        for cell in to_run:
            why = last_failure(cell.run) if cell in begun else ""
            work.states[cell] = refused.get(cell, State("queued", why))
        for cell in cells:
            work.say(cell)

    def _send(self, cells: list[Cell]) -> str:
        """Send some cells, or write what is to be sent; gives what to say of it."""
        text, many = self.text(cells), f"{len(cells)} cells"
        if self._plan.on == "slurm":
            log = self._plan.folder / "cell_K.log"
            return f"SLURM has {many} as job {submit(text)}; they speak in {log}."
        path = self._plan.folder / MANIFEST
        atomic_write(path, text)
        return f"{many} are in {path}. To begin them:\n  kubectl create -f {path}"


def last_failure(run: Path) -> str:
    """Why the last try of a cell came to nothing; "" where it didn't."""
    try:
        said = (run / FAILED).read_text("utf-8", "replace")
    except OSError:
        return ""
    return f"failed before: {last_line(said)}"
