"""What the plan of a sweep says of a folder of its runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_jax.ablation.plan_file import read_plan
from lm_jax.ablation.tune import at_edge
from lm_jax.errors import UserError
from lm_jax.runs.trials import PLAN
from lm_jax.statistics.report import Report, read_report


class Planned(NamedTuple):
    """A variant of a sweep.

    Attributes:
        report: of the sweep.
        name: of the variant.
    """

    report: Report
    name: str

    @property
    def edge(self) -> str:
        """Why what was tuned gives no verdict; "" where that is no reason."""
        return at_edge(self.report.chosen, (self.name,))


def planned(folder: Path) -> Planned | None:
    """Find the sweep that planned the runs of a folder; None where there is none.

    Raises:
        UserError: its plan can't be read; a planned run of the folder doesn't count.
    """
    folder = folder.resolve()
    path = folder.parent / PLAN
    if not path.is_file() or folder.name not in read_plan(path)["variants"]:
        return None
    report = read_report(folder.parent)
    lacking = {
        place.title: report.states[place].word
        for place in report.lacking
        if place.variant == folder.name
    }
    if lacking:
        named = "; ".join(f"{title}: {word}" for title, word in lacking.items())
        raise UserError(
            f"{len(lacking)} runs of {folder} that its sweep planned don't count "
            f"({named}): there is no verdict while a run is missing."
        )
    return Planned(report, folder.name)


def shared(a: Planned | None, b: Planned | None) -> Report | None:
    """The sweep that planned both; None where no one did."""
    if a is None or b is None or a.report.folder != b.report.folder:
        return None
    return a.report


def notes(a: Planned | None, b: Planned | None) -> Iterator[str]:
    """What a reader of a verdict on two folders should know of their sweeps."""
    many = max((len(each.report.against) for each in (a, b) if each), default=0)
    if many > 1:
        yield (
            f"Their sweep compares {many} variants; here B is judged as if it were "
            "the only one, and the sweep's own verdicts are stricter."
        )
