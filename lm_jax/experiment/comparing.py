"""Fields of an experiment by their dotted names, and where two differ."""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn

from lm_jax.experiment.value import AnyExperiment

Part = Literal["recipe", "execution", "notes"]


class Leaf(NamedTuple):
    """A field of an experiment.

    Attributes:
        name: dotted, such as "model.layers".
        text: its value; of what has fields, the name of its kind.
        part: what it is part of.
    """

    name: str
    text: str
    part: Part


class Difference(NamedTuple):
    """A field in which two experiments differ; None where one has no such field."""

    name: str
    a: str | None
    b: str | None
    part: Part


def fields(value: Any) -> list[dataclasses.Field]:
    """A value's fields, without those that Flax or the set-up of a run gives.

    What all models have, by name only, stands last.
    """
    hidden = ("parent", "name") if isinstance(value, nn.Module) else ()
    ordered = sorted(dataclasses.fields(value), key=lambda f: f.kw_only is True)
    return [
        field
        for field in ordered
        if field.name not in hidden and field.metadata.get("part") != "set up"
    ]


def leaves(value: Any, name: str = "", part: Part = "recipe") -> Iterator[Leaf]:
    """Every field of a value, each with the part of the experiment it is of.

    A field's metadata says its "part"; all below it are of the same. "recipe" in
    the metadata of a mapping names the field that names the entry which is recipe
    whatever the others are.
    """
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from leaves(entry, f"{name}.{key}".lstrip("."), part)
        return
    if not dataclasses.is_dataclass(value):
        yield Leaf(name, repr(value), part)
        return
    if name:
        yield Leaf(name, type(value).__name__, part)
    for field in fields(value):
        below, inner = f"{name}.{field.name}".lstrip("."), getattr(value, field.name)
        own = field.metadata.get("part", part)
        watched = getattr(value, field.metadata.get("recipe", ""), None)
        if watched in (inner if isinstance(inner, Mapping) else ()):
            yield from leaves(inner[watched], f"{below}.{watched}", "recipe")
            inner = {key: entry for key, entry in inner.items() if key != watched}
        yield from leaves(inner, below, own)


def flatten(value: Any) -> dict[str, str]:
    """Every field by its dotted name, as text: {"model.layers": "4", ...}."""
    return {leaf.name: leaf.text for leaf in leaves(value)}


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
    recipe = sorted(
        (leaf.name, leaf.text)
        for leaf in leaves(experiment)
        if leaf.part == "recipe" and leaf.name != "seed"
    )
    sources = [inspect.getsource(kind) for kind in own_kinds(experiment)]
    text = json.dumps([recipe, sources])
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
