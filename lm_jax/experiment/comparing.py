"""Fields of an experiment by their dotted names, and where two differ."""

import dataclasses
from typing import Any

import flax.linen as nn

from lm_jax.experiment.value import AnyExperiment


def fields(value: Any) -> list[str]:
    """Names of a value's fields, without those that Flax adds to a module.

    What all models have, by name only, stands last.
    """
    hidden = ("parent", "name") if isinstance(value, nn.Module) else ()
    ordered = sorted(dataclasses.fields(value), key=lambda f: f.kw_only is True)
    return [f.name for f in ordered if f.name not in hidden]


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Every field by its dotted name, as text: {"model.layers": "4", ...}."""
    if not dataclasses.is_dataclass(value):
        return {prefix: repr(value)}
    flat = {prefix: type(value).__name__} if prefix else {}
    for name in fields(value):
        flat |= flatten(getattr(value, name), f"{prefix}.{name}".lstrip("."))
    return flat


def differences(
    a: AnyExperiment, b: AnyExperiment
) -> list[tuple[str, str | None, str | None]]:
    """(dotted name, value in a, value in b) where two experiments differ."""
    flat_a, flat_b = flatten(a), flatten(b)
    names = list(flat_a) + [name for name in flat_b if name not in flat_a]
    return [
        (name, flat_a.get(name), flat_b.get(name))
        for name in names
        if flat_a.get(name) != flat_b.get(name)
    ]
