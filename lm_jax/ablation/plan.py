"""The plan of a sweep: its cells, fixed before the first one runs."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.ablation.distributions import Point, points
from lm_jax.ablation.search import check_installed, random_points
from lm_jax.ablation.study import Study
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import Experiment, digest
from lm_jax.experiment.overrides import override
from lm_jax.experiment.value import RANDOM
from lm_jax.models.dropout import drops
from lm_jax.platform import called
from lm_jax.runs.trials import trial_name

# What a folder can be called by anywhere; "=" and "," are for points of a grid.
_UNSAFE = re.compile(r"[^\w.,=+-]+")


class Matched(NamedTuple):
    """What was changed in a variant, so that it costs as much as its reference.

    Attributes:
        changes: the value before and after, by the field's dotted name.
        off: what the variant then has more, of what the reference has: 0.01 is 1%.
    """

    changes: dict[str, list[Any]]
    off: float


@dataclass(frozen=True)
class Variant:
    """A recipe of a study.

    Attributes:
        name: of its folder.
        experiment: whatever its seed.
        against: the name of the variant that it is compared with; None of a reference.
        matched: what was changed in it, if anything was.
    """

    name: str
    experiment: Experiment
    against: str | None
    matched: Matched | None = None


@dataclass(frozen=True)
class Place:
    """Where a run of a sweep lies.

    Attributes:
        variant: its name.
        seed: of the run.
        run: its directory.
        trial: its number, of what is tuned by and not compared.
    """

    variant: str
    seed: int
    run: Path
    trial: int | None = field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """In the folder of its plan."""
        return f"{self.variant}/{self.run.name}"

    @property
    def title(self) -> str:
        """For people."""
        if self.trial is not None:
            return f"{self.variant} trial {self.trial}"
        return f"{self.variant} seed {self.seed}"


@dataclass(frozen=True)
class Cell(Place):
    """A run of a sweep.

    Attributes:
        experiment: with its seed.
        halved: whether it is stopped early where it falls behind its rivals.
    """

    experiment: Experiment
    halved: bool = field(default=False, kw_only=True)

    @property
    def rivals(self) -> tuple[Path, ...]:
        """The trials before it, which must be through when it begins."""
        before = range(self.trial or 0) if self.halved else ()
        return tuple(self.run.with_name(trial_name(k)) for k in before)


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep will do.

    Attributes:
        folder: that its runs lie in.
        study: what is asked.
        variants: what is compared.
        workers: processes that share the machine evenly, and run cells side by side;
            None runs one after another on all of it.
        together: runs that one program trains at once, of other seeds and schedules;
            None trains each alone.
        on: the kind of cluster that trains each cell as a job; None trains them here.
    """

    folder: Path
    study: Study
    variants: tuple[Variant, ...]
    workers: int | None = None
    together: int | None = None
    on: str | None = None

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every run: all variants of a seed, then those of the next.

        Whenever a sweep stops, the seeds that are through have all their pairs.
        """
        return tuple(
            Cell(
                variant.name,
                seed,
                place_of(self.folder, variant.name, seed),
                replace(self.computed(variant.experiment), seed=seed),
            )
            for seed in range(self.study.seeds)
            for variant in self.variants
        )

    def computed(self, experiment: Experiment) -> Experiment:
        """An experiment as its runs are computed."""
        if self.together is None:
            return experiment
        execution = replace(experiment.execution, together=self.together)
        return replace(experiment, execution=execution)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """What every variant tries before it is compared; none if nothing is tuned."""
        study = self.study
        drawn = random_points if study.search == "random" else points
        return tuple(drawn(study.tune, study.trials)) if study.tune else ()

    @cached_property
    def trials(self) -> tuple[Cell, ...]:
        """The runs that fields are tuned by: all variants with the first values, ...

        The same seed for the same values, and none of those that are compared.

        Raises:
            UserError: values don't fit a variant.
        """
        return tuple(
            Cell(
                variant.name,
                self.study.seeds + k,
                self.folder / variant.name / trial_name(k),
                replace(self._tried(variant, point), seed=self.study.seeds + k),
                trial=k,
                halved=self.study.search == "halving",
            )
            for k, point in enumerate(self.points)
            for variant in self.variants
        )

    def _tried(self, variant: Variant, point: Point) -> Experiment:
        """A variant with values of a trial; together where one program serves all.

        One that is halved waits until the trials before it are through.
        """
        experiment, study = with_values(variant, point), self.study
        schedule = all(name.startswith("schedule.") for name in study.tune)
        shared = schedule and study.search != "halving"
        return self.computed(experiment) if shared else experiment

    @property
    def against(self) -> dict[str, str]:
        """What each variant is compared with, by name; references are not in it."""
        return {v.name: v.against for v in self.variants if v.against is not None}

    def compared(self) -> list[Variant]:
        """The variants that are compared with another."""
        return [each for each in self.variants if each.against is not None]


def place_of(folder: Path, variant: str, seed: int) -> Path:
    """The directory of a run of a sweep."""
    return folder / variant / f"seed{seed}"


def make_plan(
    experiments: Mapping[str, Any],
    folder: Path,
    study: Study,
    against: Mapping[str, str] | None = None,
) -> Plan:
    """Plan the runs of some experiments.

    Args:
        experiments: by name.
        folder: that their runs lie in, each in <name>/seed<k>.
        study: what is asked.
        against: what each is compared with; if None, all with the first.

    Raises:
        UserError: one isn't trained in steps; two are the same; an effect was
            published of none of them; a package for the search is missing.
    """
    if study.search != "spread":
        check_installed()
    first = next(iter(experiments), None)
    if against is None:
        against = {name: first for name in experiments if name != first and first}
    for name, experiment in experiments.items():
        _check_seeds(name, experiment, study.vary)
    variants = tuple(
        Variant(name, varied(experiment, study.vary), against.get(name))
        for name, experiment in experiments.items()
    )
    if len(variants) < 2 and study.target is None:
        raise UserError(
            "There is nothing to compare: name another variant (--variants), the "
            "values of a field (--grid model.layers=2,4), or a score to be better "
            "than (study.target)."
        )
    check_different(variants)
    for name in study.published:
        if name not in against:
            raise UserError(
                f"study.published: '{name}' is not compared with anything here."
                f"{nearest(name, against)}"
            )
    plan = Plan(folder, study, variants)
    if plan.trials:
        # Two may differ in nothing but what is tuned.
        first_trial = plan.trials[: len(variants)]
        check_different(
            tuple(Variant(c.variant, c.experiment, None) for c in first_trial)
        )
    return plan


def _check_seeds(name: str, experiment: Any, vary: str) -> None:
    """Refuse an experiment that gives the same with every seed."""
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"'{name}' is fitted by counting: it gives the same with every seed. "
            "Fit it with `train`."
        )
    dry = not (drops(experiment.model) or experiment.objective.across_rows)
    if vary == "dropout" and dry:
        raise UserError(
            f"study.vary='dropout': '{name}' has no dropout, so that all of its "
            'seeds would give the same. Give it some, or vary "order" or "initial".'
        )


def varied(experiment: Experiment, part: str) -> Experiment:
    """An experiment of which the seed moves one part alone, or "all" of them."""
    if part == "all":
        return experiment
    return replace(experiment, held=tuple(each for each in RANDOM if each != part))


def with_values(variant: Variant, point: Point) -> Experiment:
    """The recipe of a variant with the values that were drawn for it.

    Raises:
        UserError: there is no such field, or a value doesn't fit.
    """
    flags = [f"--{field}={value!r}" for field, value in point.items()]
    try:
        found = override(variant.experiment, flags, f"{called()} train FILE")
    except UserError as error:
        raise UserError(f"study.tune, {variant.name}: {error}") from error
    assert isinstance(found, Experiment)
    return found


def check_different(variants: tuple[Variant, ...]) -> None:
    """Refuse a folder, or a recipe, that two variants share.

    Raises:
        UserError: with both.
    """
    for named in (lambda v: folder_name(v.name), lambda v: digest(v.experiment)):
        alike: dict[str, list[str]] = defaultdict(list)
        for variant in variants:
            alike[named(variant)].append(variant.name)
        for names in alike.values():
            if len(names) > 1:
                raise UserError(
                    f"'{names[1]}' is the same as '{names[0]}': their recipes don't "
                    "differ in any field but, perhaps, the seed, how they are computed "
                    "(execution) or what is noted. Leave one out (--variants, or one "
                    "of the values of --grid)."
                )


def folder_name(name: str) -> str:
    """A name without what folders can't be called by everywhere."""
    return _UNSAFE.sub("_", name)
