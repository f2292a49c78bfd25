"""Fields of all variants of a study: of one value, or of each point of a grid."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lm_jax.ablation.plan import folder_name
from lm_jax.errors import UserError
from lm_jax.experiment.overrides import override

Point = tuple[tuple[str, str], ...]


def points(axes: Sequence[str]) -> list[Point]:
    """Read FIELD=VALUE,VALUE words, and give every combination; one empty of none.

    Raises:
        UserError: a word is of another form, or a field comes twice.
    """
    found: dict[str, list[str]] = {}
    for axis in axes:
        field, values = _parted("--grid", axis, "its values, as in model.layers=2,4")
        each = [value.strip() for value in values.split(",")]
        if not all(each):
            raise UserError(f"--grid '{axis}': there is nothing beside a comma.")
        if field in found:
            raise UserError(f"--grid has {field} twice: give all its values at once.")
        if len(set(each)) < len(each):
            raise UserError(f"--grid '{axis}': a value comes twice.")
        found[field] = each
    return list(
        itertools.product(*([(f, v) for v in each] for f, each in found.items()))
    )


def with_fields(
    experiments: Mapping[str, Any],
    words: Sequence[str],
    axes: Sequence[str],
    program: str,
) -> dict[str, Any]:
    """Change the same fields in all experiments: FIELD=VALUE, one value a word.

    Args:
        experiments: by name.
        words: the fields and their values.
        axes: words of the grid, which may have none of these fields.
        program: what was called, for messages.

    Raises:
        UserError: a word is of another form, a field comes twice or isn't there, or a
            value doesn't fit.
    """
    taken = dict.fromkeys((field for field, _ in points(axes)[0]), "--grid too")
    flags = []
    for word in words:
        field, value = _parted("--set", word, "its value, as in model.layers=2")
        if field in taken:
            raise UserError(f"--set {field}: it is given by {taken[field]}. Give one.")
        taken[field] = "--set twice"
        flags.append(f"--{field}={value}")
    return {name: override(each, flags, program) for name, each in experiments.items()}


def _parted(option: str, word: str, example: str) -> tuple[str, str]:
    """The field and what stands behind the sign."""
    field, _, value = (part.strip() for part in word.partition("="))
    field = field.lstrip("-")
    if not (field and value):
        raise UserError(f"{option} '{word}': give a field and {example}.")
    if field == "seed":
        raise UserError(f"{option} seed: how many seeds there are is said by --seeds.")
    return field, value


def over_grid(
    experiments: Mapping[str, Any], axes: Sequence[str], program: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Each experiment at each point, and what each is compared with.

    A variant is compared with the first experiment at the same point; the first
    experiment's points with its first.

    Args:
        experiments: by name, the reference first.
        axes: the grid's words.
        program: what was called, for messages.

    Raises:
        UserError: a field isn't there, a value doesn't fit, or two have one name.
    """
    reference, *_ = experiments
    found, against = {}, {}
    grid = points(axes)
    for point in grid:
        flags = [f"--{field}={value}" for field, value in point]
        for name, experiment in experiments.items():
            here = _name(name, point, reference)
            if here in found:
                raise UserError(
                    f"--grid: two of its points would have the folder '{here}'. Give "
                    "values whose names differ in letters or digits."
                )
            found[here] = override(experiment, flags, program)
            if name != reference:
                against[here] = _name(reference, point, reference)
            elif point != grid[0]:
                against[here] = _name(reference, grid[0], reference)
    return found, against


def _name(name: str, point: Point, reference: str) -> str:
    """Such as "rotary,layers=2"; the reference's own name is left out."""
    lasts = Counter(field.rpartition(".")[2] for field, _ in point)
    parts = [] if name == reference and point else [name]
    for field, value in point:
        last = field.rpartition(".")[2]
        parts.append(f"{last if lasts[last] == 1 else field}={value}")
    return folder_name(",".join(parts))
