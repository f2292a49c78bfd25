"""Fields that hold one of several kinds of value, and another kind put there."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any

from lm_jax.command_line import flag_of, members
from lm_jax.errors import UserError

# What another kind of data takes from the one before, where it has such a field.
_CARRIED = ("corpus", "tokenizer", "context")

Path = tuple[str, ...]


def at(value: Any, path: Path) -> Any:
    """The value at a path; None where there is no such field."""
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, tuple):
            value = value[int(name)] if name in map(str, range(len(value))) else None
        else:
            value = getattr(value, name, None)
    return value


@functools.cache
def annotations(kind: type) -> dict[str, Any]:
    """The types of a kind's fields, by name, as far as they can be resolved."""
    try:
        hints = typing.get_type_hints(kind)
    except Exception:  # a name in a user's own file that is there for checkers only
        hints = {}
    return {f.name: hints.get(f.name, f.type) for f in dataclasses.fields(kind)}


def annotation(value: Any, path: Path) -> Any:
    """The type of the field at a path; None where there is no such field."""
    if not path:
        return None
    holder, name = at(value, path[:-1]), path[-1]
    if isinstance(holder, Mapping):
        held = typing.get_args(annotation(value, path[:-1]))
        return held[1] if held else None
    if isinstance(holder, tuple):
        inner = typing.get_args(annotation(value, path[:-1]))
        if inner and name in map(str, range(len(holder))):
            return inner[0] if inner[-1] is ... else inner[int(name)]
        return None
    if dataclasses.is_dataclass(holder) and not isinstance(holder, type):
        return annotations(type(holder)).get(name)
    return None


def kinds_at(value: Any, path: Path) -> dict[str, type]:
    """The kinds that the field at a path may hold, by name; empty for other fields."""
    return kinds_of(annotation(value, path))


def kinds_of(hint: Any) -> dict[str, type]:
    """The kinds of value in a union, by name; empty for other types."""
    options = members(hint)
    found: dict[str, type] = {
        kind.__name__: kind
        for kind in options
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    }
    if len(options) < 2 or not found:
        return {}
    if types.NoneType in options:
        found["None"] = types.NoneType
    return found


def choose(value: Any, path: Path, kind: type, given: Mapping[str, Any]) -> Any:
    """Put a value of another kind at a path.

    It has the kind's defaults and the fields given; what has no default is taken
    from the value before. Data go on with their corpus.

    Raises:
        UserError: neither is there, with the flags that would give it.
    """
    before = at(value, path)
    if kind is types.NoneType:
        return changed(value, {path: None})
    fields = [field for field in dataclasses.fields(kind) if field.init]
    needed = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    carried = _carried(before, kind) if path == ("data",) else {}
    taken = {n: getattr(before, n) for n in needed if hasattr(before, n)}
    lacking = [n for n in needed if n not in {**taken, **carried, **given}]
    if lacking:
        flags = " and ".join(f"{flag_of((*path, name))} VALUE" for name in lacking)
        raise UserError(
            f"{flag_of(path)} {kind.__name__} has no default for {', '.join(lacking)}, "
            f"and there is none here to take it from. Add {flags}."
        )
    return changed(value, {path: built(kind, {**taken, **carried, **given}, path)})


def changed(value: Any, changes: Mapping[Path, Any], above: Path = ()) -> Any:
    """A value with others in the fields at some paths, all at once.

    Raises:
        UserError: the value refuses them; what isn't ours is named with its flag.
    """
    if () in changes:
        return changes[()]
    parts: dict[str, dict[Path, Any]] = {}
    for path, new in changes.items():
        parts.setdefault(path[0], {})[path[1:]] = new
    new = {
        name: changed(at(value, (name,)), part, (*above, name))
        for name, part in parts.items()
    }
    if isinstance(value, Mapping):
        return {**value, **new}
    if isinstance(value, tuple):
        return tuple(new.get(str(i), entry) for i, entry in enumerate(value))
    return built(lambda **fields: dataclasses.replace(value, **fields), new, above)


def built(make: Any, fields: Mapping[str, Any], path: Path) -> Any:
    """Call what makes a value; an error of a user's own kind becomes one message."""
    try:
        return make(**fields)
    except (TypeError, ValueError, AssertionError) as error:
        flags = ", ".join(f"{flag_of((*path, name))}" for name in fields)
        raise UserError(f"{flags}: {type(error).__name__}: {error}") from error


def _carried(data: Any, kind: type) -> dict[str, Any]:
    """What data of a kind take: the corpus, in the same tokens where it can be."""
    hints = annotations(kind)
    return {
        name: getattr(data, name)
        for name in _CARRIED
        if name in hints and isinstance(getattr(data, name, None), hints[name])
    }
