"""What a report is made of: sweeps and runs, read from their folders alone."""

from collections.abc import Sequence
from pathlib import Path

from lm_jax.ablation.plan_file import read_plan
from lm_jax.errors import UserError
from lm_jax.experiment import read, watched_as
from lm_jax.report.gathered import Gathered, Member, Progress, Variant, members
from lm_jax.report.lone import lone_runs, of_lone
from lm_jax.runs.claim import read_data
from lm_jax.runs.directory import find_run, runs_below
from lm_jax.runs.scored import corpus_of
from lm_jax.runs.trials import PLAN, is_trial
from lm_jax.statistics.report import Report, read_report


def gather(paths: Sequence[Path], progress: Progress | None = None) -> Gathered:
    """Read sweeps and runs.

    Args:
        paths: each a sweep's folder, a run, or a folder of runs.
        progress: is told what is read, how much of it, of how much.

    Raises:
        UserError: there is none; they are of other data or evaluations.
    """
    paths = list({path.resolve(): path for path in paths}.values())
    sweeps = [path for path in paths if (path / PLAN).is_file()]
    inside = {run for sweep in sweeps for run in runs_below(sweep.resolve())}
    runs = [run for path in paths if path not in sweeps for run in _runs(path)]
    lone = lone_runs(run for run in runs if run.resolve() not in inside)
    reports = [read_report(sweep) for sweep in sweeps]
    many = len(reports) + bool(lone) > 1
    variants = [v for report in reports for v in _of_sweep(report, many, progress)]
    if lone:
        report, others = of_lone(lone, progress)
        reports.append(report)
        variants += others
    found = Gathered(reports, variants)
    if many or len(lone) > 1:
        _check_alike(variants, bytewise=found.measures == ["bits_per_byte"])
    return found


def _runs(path: Path) -> list[Path]:
    """The runs that a path means; one at least, and no trials unless it is one."""
    below = runs_below(path) if path.is_dir() else []
    return [run for run in below if not is_trial(run)] or below or [find_run(path)]


def _of_sweep(report: Report, many: bool, progress: Progress | None) -> list[Variant]:
    """The variants of a sweep, with what its plan says of them."""
    planned = read_plan(report.folder / PLAN)["variants"]
    places = list(report.states)
    begun = members(places, report.states, progress)
    before = f"{report.folder.absolute().name}/" if many else ""
    return [
        Variant(
            before + name,
            tuple(m for m in begun if m.place.variant == name),
            about["fields"],
        )
        for name, about in planned.items()
    ]


def _check_alike(variants: list[Variant], bytewise: bool) -> None:
    """Refuse runs that were trained or scored on other data, or scored otherwise.

    Args:
        variants: all of the report.
        bytewise: whether the measures don't depend on the tokens.

    Raises:
        UserError: with the first thing that differs.
    """
    known: dict[str, tuple[str, str]] = {}
    for variant in variants:
        for member in variant.members:
            for what, value in _facts(member).items():
                here = f"{variant.name} seed {member.place.seed}"
                there, other = known.setdefault(what, (here, value))
                if value != other and not (bytewise and what == "tokens"):
                    raise UserError(
                        f"'{here}' doesn't belong in one report with '{there}': "
                        f"{what}: {other} there, {value} here. What differs between "
                        "their scores would be the measure: make a report of each."
                    )


def _facts(member: Member) -> dict[str, str]:
    """What the runs of a report share, as far as it is known of one."""
    run, experiment = member.place.run, read(member.place.run)
    found = {"text": corpus_of(experiment.data)}
    if data := read_data(run):
        found["content or split of the text"] = str(data.get("text"))
        found["tokens"] = str(data.get("digest"))
        if "bytes" in data:
            found["bytes of the validation split"] = f"{data['bytes']:,}"
    if policy := member.result.get("policy"):
        found["seen before each token"] = policy
    return found | {"evaluation": watched_as(experiment)}
