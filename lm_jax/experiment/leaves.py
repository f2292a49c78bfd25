"""Fields of an experiment by their dotted names, each of a part of it."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn

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
