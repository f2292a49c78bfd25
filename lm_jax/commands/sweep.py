"""Train the variants of an experiment file with several seeds, and compare them."""

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lm_jax.ablation.grid import over_grid, with_fields
from lm_jax.ablation.match import matched
from lm_jax.ablation.plan import Plan, Variant, make_plan
from lm_jax.ablation.study import Study
from lm_jax.command_line import flag_of
from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError, nearest
from lm_jax.experiment.loading import BASE, File, load_file
from lm_jax.files import given_path
from lm_jax.platform import called
from lm_jax.report.objects import as_object
from lm_jax.runs.display import Display
from lm_jax.scaling.needs import Needs
from lm_jax.scaling.slurm import check_here
from lm_jax.statistics import words
from lm_jax.statistics.report import Report
from lm_jax.sweeping.checks import check_together
from lm_jax.sweeping.preview import lines, preview
from lm_jax.sweeping.shares import shares
from lm_jax.sweeping.submitted import Submitted
from lm_jax.sweeping.sweep import carry_out, to_submit


@dataclass(frozen=True)
class Options:
    """Train the variants of an experiment file with several seeds, and compare them.

    Every run is a directory as `train` makes it. Started again, a sweep goes on where
    it stopped: what has ended is kept, what was stopped or failed is taken up again.
    At the end stand mean, standard deviation and paired differences, with a verdict
    from 5 seeds on. What is asked stands in the file, before the runs, such as
    `study = Study(measure="loss", seeds=8, smallest=0.01)`, of lm_jax.ablation.

    A study also makes comparisons fair: match="parameters", "flops" or "time" makes
    each variant as large, or as long, as `experiment`, and says what was changed;
    tune={"schedule.peak": log_uniform(1e-4, 1e-2)} gives each the best of 8 values
    (trials=8), on seeds that are not compared; search="random" or "halving", which
    stops trials that fall behind, need the extra `search`.

    The plan is written to sweep.json and never changed.
    """

    file: Annotated[str, tyro.conf.Positional]
    """Experiment file; its `experiment` is what the others are compared with."""
    variants: str | None = None
    """Names, with commas between them; all if not given, with a grid none."""
    seeds: int | None = None
    """Seeds of each: 0, 1, ...; those of the file's study if not given, or 5."""
    grid: tuple[str, ...] = ()
    """Fields and their values: model.layers=2,4 schedule.peak=1e-3,3e-3"""
    set: tuple[str, ...] = ()
    """Fields that all variants have otherwise than in the file: budget="200 steps"
    batch=8"""
    out: Path | None = None
    """Folder of the runs; runs/<experiment> if not given."""
    workers: int | None = None
    """Processes that train cells side by side, each with an equal share of the cores,
    or of the GPUs; one after another on all of them if not given."""
    together: int | None = None
    """Runs that one program trains at once, of other seeds and schedules: faster where
    a step is too small for the machine (`bench seeds` measures it); each alone if not
    given."""
    on: Literal["slurm", "kubernetes"] | None = None
    """Train each cell as a job of a cluster: a task of an array, or an index of a Job.
    None is waited for: the same command gathers, and submits again what failed."""
    at_once: int | None = None
    """Cells that may be trained at once; the cluster's limit if not given. SLURM counts
    those of one call: a cell that goes on where its time was up isn't among them."""
    needs: Annotated[Needs, tyro.conf.arg(name="")] = Needs()
    dry_run: bool = False
    """Print what --on would submit, and submit nothing."""
    preview: bool = False
    """Say what it will cost, by a few measured steps; nothing is trained."""
    json: bool = False
    """Print {"folder", "measure", "runs", "variants", "tuned", "sentences"} at the end,
    and what else is said on standard error."""


def main(args: list[str]) -> int:
    """Run the command; 1 where a run failed."""
    options = read_options(Options, "sweep", args)
    if not options.json:
        return _swept(options, args)[0]
    if options.preview:
        raise UserError("Give --preview or --json, not both.")
    with contextlib.redirect_stdout(sys.stderr):
        code, report = _swept(options, args)
    if report is not None:
        print_json(as_object(report))
    return code


def _swept(options: Options, args: list[str]) -> tuple[int, Report | None]:
    """Carry out what is asked, and say it: the exit status, and what was found."""
    display = Display(0)
    plan = matched(planned(options), display.work)
    display.close()
    submitted = None
    if options.on is not None:
        submitted = Submitted(plan, options.needs, options.at_once)
    if submitted is not None and options.dry_run:
        print(to_submit(plan, submitted, Display(0, sys.stderr)), end="")
        return 0, None
    trials = f" after {len(plan.trials)} trials" if plan.trials else ""
    display.header(
        f"{plan.folder}: {len(plan.cells)} runs{trials}",
        [line for each in plan.variants for line in _about(each)],
    )
    if options.preview:
        print("\n".join(lines(plan, preview(plan, display))))
        print("Time: steps and what is watched; compiling and samples come on top.")
        if plan.workers is not None or plan.together is not None:
            print("It is measured one run after another, on the whole machine.")
        return 0, None
    report = carry_out(plan, display, submitted)
    if report.signal is not None:
        print("Stopped and saved. To go on:")
        print(f"  {called()} sweep {shlex.join(args)}")
        return (130 if report.signal == signal.SIGINT else 0), report
    print()
    print("\n".join(words.lines(report)))
    if report.lacking and submitted is not None:
        print("The same command gathers what ended, and submits again what failed.")
        failed = [run for run in report.lacking if report.states[run].word == "failed"]
        return (1 if failed else 0), report
    if report.lacking and not words.hopeless(report):
        print("What failed or is missing is taken up again by the same command.")
    return (1 if report.lacking else 0), report


def _about(variant: Variant) -> Iterator[tuple[str, str]]:
    """What a variant is compared with, and what was changed in it."""
    against = variant.against
    yield (
        variant.name,
        f"against {against}" if against else "what others are compared with",
    )
    if variant.matched is not None:
        off = f"{variant.matched.off:+.1%}"
        for field, (before, after) in variant.matched.changes.items():
            yield "", f"matched by {field}: {before} -> {after} ({off})"


def planned(options: Options) -> Plan:
    """The plan that options ask for.

    Raises:
        UserError: it isn't sound.
    """
    check_together(options.workers, options.together)
    _check_cluster(options)
    if options.workers is not None:
        shares(options.workers)  # refuses what can't be divided
    file = load_file(options.file)
    study = _study(file)
    if options.seeds is not None:
        study = replace(study, seeds=options.seeds)
    folder = Path("runs") / file.path.stem
    if options.out is not None:
        folder = given_path(options.out, "--out")
    program = f"{called()} train {options.file}"
    chosen = _chosen(file, options.variants, bool(options.grid))
    changed = with_fields(chosen, options.set, options.grid, program)
    experiments, against = over_grid(changed, options.grid, program)
    known = {k: v for k, v in study.published.items() if k in against}
    plan = make_plan(experiments, folder, replace(study, published=known), against)
    if study.search == "halving" and options.on is not None:
        raise UserError(
            "study.search='halving' stops trials by those before them, and --on begins "
            'all at once. Leave out --on, or let the study search at "random".'
        )
    return replace(
        plan, workers=options.workers, together=options.together, on=options.on
    )


def _check_cluster(options: Options) -> None:
    """Refuse what means nothing on a cluster, or nothing without one.

    Raises:
        UserError: saying which.
    """
    cluster = ("at_once", "needs", "dry_run")
    said = [name for name in cluster if getattr(options, name) not in (None, False)]
    said = [name for name in said if getattr(options, name) != Needs()]
    if options.on is None and said:
        raise UserError(
            f"{flag_of([said[0]])} is for cells that a cluster trains: give --on too."
        )
    if options.on is not None and (options.workers or options.together):
        raise UserError(
            "--workers and --together share this machine, and --on takes others: give "
            "one of them."
        )
    if options.at_once is not None and options.at_once < 1:
        raise UserError(f"--at-once {options.at_once}: give 1 or more.")
    if options.on == "slurm" and not options.dry_run:
        check_here()


def _study(file: File) -> Study:
    """The study of a file, or the usual one.

    Raises:
        UserError: it is none, or an effect was published of no variant.
    """
    if file.study is None:
        return Study()
    if not isinstance(file.study, Study):
        raise UserError(
            f"{file.path}: 'study' is a {type(file.study).__name__}; it must be a "
            "Study, of lm_jax.ablation."
        )
    for name in file.study.published:
        if name not in file.experiments:
            there = nearest(name, file.experiments)
            raise UserError(f"study.published: {file.path} has no '{name}'.{there}")
    return file.study


def _chosen(file: File, names: str | None, grid: bool) -> dict[str, Any]:
    """The reference and the variants that were named; with a grid alone, none.

    Raises:
        UserError: there is no variant of a name, or it comes twice.
    """
    if names is None:
        return {BASE: file.experiments[BASE]} if grid else file.experiments
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in file.experiments:
            there = nearest(name, file.experiments)
            raise UserError(f"--variants: {file.path} has no '{name}'.{there}")
        if wanted.count(name) > 1:
            raise UserError(f"--variants: '{name}' comes twice.")
    return {name: file.experiments[name] for name in dict.fromkeys([BASE, *wanted])}
