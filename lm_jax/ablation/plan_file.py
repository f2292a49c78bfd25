"""sweep.json: a plan as it is written before the first run, and read back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lm_jax.ablation.plan import Plan
from lm_jax.ablation.study import Study
from lm_jax.errors import UserError
from lm_jax.experiment import digest
from lm_jax.experiment.value import recipe
from lm_jax.files import exclusive_write, writing
from lm_jax.runs.code import own_code
from lm_jax.runs.trials import PLAN

_FORMAT = 1


def written(plan: Plan) -> dict[str, Any]:
    """A plan as its file has it: each cell named by recipe, seed and code."""
    code = own_code()
    variants = {
        each.name: {
            "against": each.against,
            "matched": each.matched and each.matched._asdict(),
            "digest": digest(each.experiment),
            "fields": {leaf.name: leaf.text for leaf in recipe(each.experiment)},
        }
        for each in plan.variants
    }
    # What is compared is known by its recipe before it is tuned.
    cells = {
        each.name: "-".join([digest(each.experiment), str(each.seed), code["sources"]])
        for each in (*plan.trials, *plan.cells)
    }
    return {
        "format": _FORMAT,
        "code": code,
        "study": plan.study.written(),
        "workers": plan.workers,
        "together": plan.together,
        "on": plan.on,
        "variants": variants,
        "points": list(plan.points),
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
        for name in ("workers", "together", "on"):
            there, here = before.get(name), now[name]
            if there != here:
                changes += [f"--{name}: {there} there, {here} now"]
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
            return _whole(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} can't be read: {why}. Its runs are whole without it: move it "
            "away to plan anew."
        ) from error
    raise UserError(f"{path} is of another version of lm_jax: use that, or --out.")


def _whole(found: dict[str, Any]) -> dict[str, Any]:
    """A plan that has what every plan has.

    Raises:
        KeyError, TypeError, AttributeError: it hasn't.
    """
    found["code"]["sources"], found["cells"].keys(), found["study"].keys()
    for variant in found["variants"].values():
        variant["against"], variant["digest"], variant["fields"].keys()
    return found


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Say in a line each where two plans differ."""
    # What earlier plans of this format don't say is as usual.
    there = Study().written() | before["study"]
    for name, value in now["study"].items():
        if there[name] != value:
            yield f"study.{name}: {there[name]} there, {value} now"
    if there == now["study"] and before.get("points", []) != now["points"]:
        yield "study.tune: other values were drawn there, by another version"
    for name in before["variants"] | now["variants"]:
        was, here = before["variants"].get(name), now["variants"].get(name)
        if was is None or here is None:
            yield f"{name}: {'not there' if here else 'there'}, {_planned(here)} now"
            continue
        fields = was["fields"] | here["fields"]
        for field in fields:
            a, b = was["fields"].get(field), here["fields"].get(field)
            if a != b:
                yield f"{name}: {field}: {a} there, {b} now"
        if was["against"] != here["against"]:
            a, b = was["against"], here["against"]
            yield f"{name}: compared with {a} there, with {b} now"
        if was["fields"] == here["fields"] and was["digest"] != here["digest"]:
            yield f"{name}: its own code (the experiment's file) has changed"


def _planned(variant: Any) -> str:
    return "planned" if variant else "not planned"


def _changed_code(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    a, b = before["sources"], now["sources"]
    commit = before.get("commit")
    at = f" (commit {commit[:10]})" if commit else ""
    return [f"the code of lm_jax: {a}{at} there, {b} now"] if a != b else []
