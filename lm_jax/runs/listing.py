"""What stands in a folder of runs: how far each is, and what it takes on the disk."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len, chop_cells, set_cell_size

from lm_jax.errors import UserError
from lm_jax.runs.directory import experiment_json, in_use, is_given
from lm_jax.runs.figures import duration, figure, size
from lm_jax.runs.metrics import last_rows
from lm_jax.runs.result import has_ended, whole_result
from lm_jax.streams import spelled

_RIGHT = ("step", "score", "size", "age")


@dataclass(frozen=True)
class Listed:
    """A run as a list shows it.

    Attributes:
        path: of its directory.
        state: "running", "stopped", "ended"; "given": imported, quantized or merged;
            "unknown" where the disk has no locks that tell; "unreadable".
        bytes: that its files take.
        seconds: since it was last written to.
        step: how far it is; None of what has no steps.
        budget: of its training, as its experiment says; None of what has no steps.
        score: the last that was measured on the validation split, and its name.
        problem: why it can't be read, if it can't.
    """

    path: Path
    state: str
    bytes: int
    seconds: float
    step: int | None = None
    budget: str | None = None
    score: tuple[str, float] | None = None
    problem: str | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in a list behind its path."""
        far = "" if self.budget is None else f"{self.step} of {self.budget}"
        name, value = self.score or ("", 0.0)
        score = f"{name.replace('_', ' ')} {figure(value, 4)}" if name else "-"
        told = "" if self.problem else score
        return self.state, far, told, size(self.bytes), duration(self.seconds)


def listed(run: Path) -> Listed:
    """Look at a run; nothing of it is executed or changed."""
    used, newest = _on_disk(run)
    age = max(0.0, time.time() - newest)
    try:
        experiment = experiment_json(run)["experiment"]
        ended = whole_result(run) if (run / "result.json").exists() else {}
        last, scored = last_rows(run / "metrics.jsonl")
    except UserError as error:
        return Listed(run, "unreadable", used, age, problem=str(error))
    step = last.get("step") or ended.get("steps") or 0
    whole = ended and step == ended["steps"] and has_ended(run)
    given = is_given(run)
    state = "given" if given else "ended" if whole else "stopped"
    if (used_now := in_use(run)) is not False:
        state = "running" if used_now else "unknown"
    budget = None if given else experiment.get("budget")
    far = None if budget is None else step
    return Listed(run, state, used, age, far, budget, _score(scored, ended))


def _score(scored: dict, ended: dict) -> tuple[str, float] | None:
    """The last score of the validation split, the loss if there is one."""
    prefix = "validation_"
    scores = {k.removeprefix(prefix): v for k, v in scored.items() if prefix in k}
    if not scores:  # what counts has no steps, and no scores while it trains
        here = {"split": "validation", "corpus": ended.get("corpus")}
        own = [e for e in ended.get("scores", ()) if here.items() <= e.items()]
        scores = own[-1]["scores"] if own else {}
    name = "loss" if "loss" in scores else next(iter(scores), "")
    return (name, scores[name]) if name else None


def _on_disk(run: Path) -> tuple[int, float]:
    """Bytes of all files of a run, and when the newest was written.

    Files that lock are no content.
    """
    used, newest = 0, 0.0
    for folder, _, names in os.walk(run):
        for name in names:
            try:
                about = os.lstat(os.path.join(folder, name))
            except OSError:
                continue  # gone meanwhile
            used += about.st_size
            if not name.endswith("lock"):
                newest = max(newest, about.st_mtime)
    return used, newest or time.time()


def lines(runs: list[Listed], width: int = 80) -> Iterator[str]:
    """The list, a line each; a path that is too long has a line of its own."""
    cells = [each.cells for each in runs]
    heads = ("state", "step", "score", "size", "age")
    widths = [max(len(row[k]) for row in [heads, *cells]) for k in range(len(heads))]
    used = sum(n + 2 for n in widths)
    names = [spelled(each.path) for each in runs]
    room = max([3, *(n for n in map(cell_len, names) if n + used <= width)])

    def rest(row: tuple[str, ...]) -> str:
        padded = (
            f"  {cell:>{n}}" if head in _RIGHT else f"  {cell:{n}}"
            for head, cell, n in zip(heads, row, widths, strict=True)
        )
        return "".join(padded)

    yield set_cell_size("run", room) + rest(heads)
    for name, row in zip(names, cells, strict=True):
        if cell_len(name) > room:
            yield from chop_cells(name, width)
            name = ""
        yield set_cell_size(name, room) + rest(row)
    total = size(sum(each.bytes for each in runs))
    yield f"{len(runs)} run{'s' * (len(runs) != 1)}, {total}"
