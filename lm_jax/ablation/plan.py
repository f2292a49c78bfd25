"""The plan of a sweep: its cells, fixed and written before the first one runs."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_jax.ablation.study import Study
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import Experiment, digest, leaves
from lm_jax.files import exclusive_write, writing
from lm_jax.runs.code import own_code

PLAN = "sweep.json"
_FORMAT = 1
# What a folder can be called by anywhere; "=" and "," are for points of a grid.
_UNSAFE = re.compile(r"[^\w.,=+-]+")


@dataclass(frozen=True)
class Variant:
    """A recipe of a study.

    Attributes:
        name: of its folder.
        experiment: whatever its seed.
        against: the name of the variant that it is compared with; None of a reference.
    """

    name: str
    experiment: Experiment
    against: str | None


@dataclass(frozen=True)
class Place:
    """Where a run of a sweep lies.

    Attributes:
        variant: its name.
        seed: of the run.
        run: its directory.
    """

    variant: str
    seed: int
    run: Path

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.variant} seed {self.seed}"


@dataclass(frozen=True)
class Cell(Place):
    """A run of a sweep.

    Attributes:
        experiment: with its seed.
    """

    experiment: Experiment


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep will do.

    Attributes:
        folder: that its runs lie in.
        study: what is asked.
        variants: what is compared.
    """

    folder: Path
    study: Study
    variants: tuple[Variant, ...]

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
                replace(variant.experiment, seed=seed),
            )
            for seed in range(self.study.seeds)
            for variant in self.variants
        )

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
            published of none of them.
    """
    first = next(iter(experiments), None)
    if against is None:
        against = {name: first for name in experiments if name != first and first}
    for name, experiment in experiments.items():
        if not isinstance(experiment, Experiment):
            raise UserError(
                f"'{name}' is fitted by counting: it gives the same with every seed. "
                "Fit it with `train`."
            )
    variants = tuple(
        Variant(name, experiment, against.get(name))
        for name, experiment in experiments.items()
    )
    _check_different(variants)
    for name in study.published:
        if name not in against:
            raise UserError(
                f"study.published: '{name}' is not compared with anything here."
                f"{nearest(name, against)}"
            )
    return Plan(folder, study, variants)


def _check_different(variants: tuple[Variant, ...]) -> None:
    """Refuse a folder, or a recipe, that two variants share.

    Raises:
        UserError: with both.
    """
    if len(variants) < 2:
        raise UserError(
            "There is nothing to compare: name another variant (--variants), or the "
            "values of a field (--grid model.layers=2,4)."
        )
    for named in (lambda v: folder_name(v.name), lambda v: digest(v.experiment)):
        alike: dict[str, list[str]] = defaultdict(list)
        for variant in variants:
            alike[named(variant)].append(variant.name)
        for names in alike.values():
            if len(names) > 1:
                raise UserError(
                    f"'{names[1]}' is the same as '{names[0]}': their recipes don't "
                    "differ in any field but, perhaps, the seed, how they are computed "
                    "(execution) or what is noted. Leave one out (--variants)."
                )


def folder_name(name: str) -> str:
    """A name without what folders can't be called by everywhere."""
    return _UNSAFE.sub("_", name)


def written(plan: Plan) -> dict[str, Any]:
    """A plan as its file has it: each cell named by recipe, seed and code."""
    code = own_code()
    variants = {
        each.name: {
            "against": each.against,
            "digest": digest(each.experiment),
            "fields": {
                leaf.name: leaf.text
                for leaf in leaves(each.experiment)
                if leaf.part == "recipe" and leaf.name != "seed"
            },
        }
        for each in plan.variants
    }
    cells = {
        f"{each.variant}/seed{each.seed}": "-".join(
            [digest(each.experiment), str(each.seed), code["sources"]]
        )
        for each in plan.cells
    }
    return {
        "format": _FORMAT,
        "code": code,
        "study": plan.study.written(),
        "variants": variants,
        "cells": cells,
    }


def claim_plan(plan: Plan, any_code: bool = False) -> bool:
    """Write a plan into its folder, or see that the one there is the same.

    The file is made only where there is none, so of two sweeps that begin together one
    is the first.

    Args:
        plan: of the sweep.
        any_code: whether other code than the plan was made with may read it.

    Returns:
        Whether it is new.

    Raises:
        UserError: another plan is there, with the differences, or can't be read.
    """
    now, path = written(plan), plan.folder / PLAN
    with writing(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    if exclusive_write(path, json.dumps(now, indent=1, ensure_ascii=False) + "\n"):
        return True
    check_same(plan, any_code)
    return False


def check_same(plan: Plan, any_code: bool = False) -> None:
    """See that the plan in a folder is this one.

    Raises:
        UserError: it isn't, with the differences, or can't be read.
    """
    before, now = read_plan(plan.folder / PLAN), written(plan)
    changes = list(_changes(before, now))
    if not any_code:
        changes += _changed_code(before["code"], now["code"])
    if changes:
        lines = "\n".join(f"  {line}" for line in changes)
        raise UserError(
            f"{plan.folder} holds another sweep, whose plan is kept as it was made:\n"
            f"{lines}\nGo on with that one as it was, or give this one a folder of its "
            "own (--out)."
        )


def read_plan(path: Path) -> dict[str, Any]:
    """What `written` gave.

    Raises:
        UserError: it can't be read, or is of another format.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] == _FORMAT:
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} can't be read: {error}. Its runs are whole without it: move it "
            "away to plan anew."
        ) from error
    raise UserError(f"{path} is of another version of lm_jax: use that, or --out.")


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Say in a line each where two plans differ."""
    for name, value in now["study"].items():
        if before["study"].get(name) != value:
            yield f"study.{name}: {before['study'].get(name)} there, {value} now"
    for name in before["variants"] | now["variants"]:
        there, here = before["variants"].get(name), now["variants"].get(name)
        if there is None or here is None:
            yield f"{name}: {'not there' if here else 'there'}, {_planned(here)} now"
            continue
        fields = there["fields"] | here["fields"]
        for field in fields:
            a, b = there["fields"].get(field), here["fields"].get(field)
            if a != b:
                yield f"{name}: {field}: {a} there, {b} now"
        if there["against"] != here["against"]:
            a, b = there["against"], here["against"]
            yield f"{name}: compared with {a} there, with {b} now"
        if there["fields"] == here["fields"] and there["digest"] != here["digest"]:
            yield f"{name}: its own code (the experiment's file) has changed"


def _planned(variant: Any) -> str:
    return "planned" if variant else "not planned"


def _changed_code(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    a, b = before["sources"], now["sources"]
    commit = before.get("commit")
    at = f" (commit {commit[:10]})" if commit else ""
    return [f"the code of lm_jax: {a}{at} there, {b} now"] if a != b else []
