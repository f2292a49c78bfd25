"""Where two experiments differ, and the name of a recipe."""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lm_jax.experiment.leaves import Part, fields, leaves
from lm_jax.experiment.value import AnyExperiment, recipe


class Difference(NamedTuple):
    """A field in which two experiments differ; None where one has no such field."""

    name: str
    a: str | None
    b: str | None
    part: Part


def differences(a: AnyExperiment, b: AnyExperiment) -> list[Difference]:
    """Where two experiments differ, in the order of their fields."""
    of_a, of_b = ({leaf.name: leaf for leaf in leaves(x)} for x in (a, b))
    found = []
    for name, leaf in (of_a | of_b).items():
        left, right = of_a.get(name), of_b.get(name)
        if left is None or right is None or left.text != right.text:
            a_text, b_text = (side.text if side else None for side in (left, right))
            found.append(Difference(name, a_text, b_text, leaf.part))
    return found


def digest(experiment: AnyExperiment) -> str:
    """Name a recipe: 12 hexadecimal digits, whatever its seed, execution and notes.

    Defaults are filled in, so a recipe that names one has the digest of one that
    leaves it out. Code of the experiment's own file counts as its text.
    """
    sources = [inspect.getsource(kind) for kind in own_kinds(experiment)]
    named = [(leaf.name, leaf.text) for leaf in recipe(experiment)]
    text = json.dumps([named, sources])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def kinds(value: Any) -> Iterator[type]:
    """The kinds of all values in a value, outermost first."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for entry in value:
            yield from kinds(entry)
    elif dataclasses.is_dataclass(value):
        yield type(value)
        for field in fields(value):
            yield from kinds(getattr(value, field.name))


def own_kinds(experiment: AnyExperiment) -> list[type]:
    """The kinds that an experiment's own file defines, each once."""
    found = [k for k in kinds(experiment) if not k.__module__.startswith("lm_jax.")]
    return sorted(set(found), key=lambda kind: kind.__qualname__)
