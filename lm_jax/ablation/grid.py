"""Points of a grid: "model.layers=2,4" for each variant of a study."""

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
        field, equals, values = axis.partition("=")
        field, each = field.strip().lstrip("-"), [v.strip() for v in values.split(",")]
        if not (field and equals and all(each)):
            raise UserError(
                f"--grid '{axis}': give a field and its values, as in model.layers=2,4."
            )
        if field in found:
            raise UserError(f"--grid has {field} twice: give all its values at once.")
        if len(set(each)) < len(each):
            raise UserError(f"--grid '{axis}': a value comes twice.")
        if field == "seed":
            raise UserError("--grid seed: how many seeds there are is said by --seeds.")
        found[field] = each
    return list(
        itertools.product(*([(f, v) for v in each] for f, each in found.items()))
    )


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
