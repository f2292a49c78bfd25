"""Change any field of an experiment from the command line."""

import dataclasses
import textwrap
import types
import typing
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import tyro

from lm_jax.errors import UserError, nearest
from lm_jax.experiment.comparing import fields, flatten
from lm_jax.experiment.value import AnyExperiment, Execution

# What another kind of data takes from the one before, where it has such a field.
_CARRIED = ("corpus", "tokenizer", "context")


def override(experiment: AnyExperiment, args: list[str], program: str) -> AnyExperiment:
    """Apply ``--dotted.name value`` pairs to an experiment.

    A field that holds one of several kinds of value also takes the name of a
    kind (``--model.positions Rotary``), whose fields can be set in turn.

    Raises:
        SystemExit: 2 with a message for an unknown name or an unfit value, 0
            after ``--help``.
    """
    if {"-h", "--help"} & set(args):
        print(_kinds_help(experiment))
    args, experiment = _choose_kinds(_whole_names(args, experiment), experiment)
    with warnings.catch_warnings():
        # A kind of the user's own is none of those that its field lists.
        warnings.filterwarnings("ignore", "(?s).* does not match any type in Union")
        return tyro.cli(
            type(experiment),
            prog=program,
            args=args,
            default=experiment,
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
        )


def _whole_names(args: list[str], experiment: AnyExperiment) -> list[str]:
    """Write the short names of an execution's fields out: ``--fsdp``."""
    names = {f.name for f in dataclasses.fields(experiment)}
    if "execution" not in names:
        return list(args)
    paths = _execution_paths(Execution(), "execution")
    short = {f"--{p.split('.')[-1]}": f"--{p}" for p in paths}
    short = {k: v for k, v in short.items() if k.removeprefix("--") not in names}
    return [short.get(arg, arg) for arg in args]


def _execution_paths(value: Any, path: str) -> Iterator[str]:
    for field in dataclasses.fields(value):
        inner, below = getattr(value, field.name), f"{path}.{field.name}"
        if dataclasses.is_dataclass(inner):
            yield from _execution_paths(inner, below)
        else:
            yield below


def _kinds_help(experiment: AnyExperiment) -> str:
    """The fields that take the name of a kind, and the kinds that they take."""
    lines = ["Fields that hold one of several kinds of value; name another to use it:"]
    for name in flatten(experiment):
        kinds = _kinds(experiment, name.split("."))
        if kinds:
            text = f"--{name} {{{', '.join(kinds)}}}"
            lines += textwrap.wrap(
                text, 78, initial_indent="  ", subsequent_indent=" " * 6
            )
    return "\n".join(lines) + "\n"


def _choose_kinds(args: list[str], value: Any) -> tuple[list[str], Any]:
    """Replace the values whose kind is named, and drop those arguments."""
    index = 0
    while index < len(args) - 1:
        name = args[index].removeprefix("--").replace("-", "_")
        if args[index].startswith("--"):
            kinds = _kinds(value, name.split("."))
            if kinds:
                wanted = args[index + 1]
                if wanted not in kinds:
                    raise UserError(
                        f"{args[index]} is one of several kinds of value, and "
                        f"'{wanted}' is none of them.{nearest(wanted, kinds)}"
                    )
                chosen = kinds[wanted]
                value = _replace(value, name.split("."), chosen)
                del args[index : index + 2]
                continue
            _refuse_whole(args[index], _at(value, name.split(".")))
        index += 1
    return args, value


def _at(value: Any, path: list[str]) -> Any:
    """The value at a path; None where there is no such field."""
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        else:
            value = getattr(value, name, None)
    return value


def _refuse_whole(flag: str, held: Any) -> None:
    """Say how to change a value that is made of fields and has no other kinds."""
    if dataclasses.is_dataclass(held):
        first = fields(held)[0].name.replace("_", "-")
        raise UserError(
            f"{flag} holds a {type(held).__name__}, whose fields are changed one by "
            f"one: {flag}.{first} and others. To put another kind of value there, "
            "write a variant in the experiment's file."
        )


def _kinds(value: Any, path: list[str]) -> dict[str, type]:
    """The kinds that the field at a path may hold, by name."""
    holder = _at(value, path[:-1])
    if isinstance(holder, Mapping):
        hints = typing.get_type_hints(type(_at(value, path[:-2])))
        annotation = typing.get_args(hints[path[-2]])[1]
    elif dataclasses.is_dataclass(holder):
        annotation = typing.get_type_hints(type(holder)).get(path[-1])
    else:
        return {}
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return {}
    options = typing.get_args(annotation)
    kinds = [kind for kind in options if isinstance(kind, type)]
    found: dict[str, type] = {
        kind.__name__: kind for kind in kinds if dataclasses.is_dataclass(kind)
    }
    if found and types.NoneType in kinds:
        found["None"] = types.NoneType
    return found


def _replace(value: Any, path: list[str], kind: type) -> Any:
    """Put a value of another kind at a path.

    It has the kind's defaults; what has none is taken from the value before. Data
    go on with their corpus.

    Raises:
        UserError: when the value before has none either.
    """
    if path == ["data"]:
        return dataclasses.replace(value, data=_like(value.data, kind))
    if not path and kind is types.NoneType:
        return None
    if not path:
        needed = [
            field.name
            for field in dataclasses.fields(kind)
            if field.default is dataclasses.MISSING
        ]
        lacking = [name for name in needed if not hasattr(value, name)]
        if lacking:
            raise UserError(
                f"{kind.__name__} has no default for {', '.join(lacking)}, and there "
                "is none here to take it from. Write the whole value into the "
                f"experiment's file, as {kind.__name__}({', '.join(needed)})."
            )
        return kind(**{name: getattr(value, name) for name in needed})
    inner = _replace(_at(value, path[:1]), path[1:], kind)
    if isinstance(value, Mapping):
        return {**value, path[0]: inner}
    return dataclasses.replace(value, **{path[0]: inner})


def _like(data: Any, kind: type) -> Any:
    """Data of a kind, of the same corpus in the same tokens where it can be."""
    hints, shared = typing.get_type_hints(kind), {}
    for name in _CARRIED:
        if name in hints and isinstance(getattr(data, name, None), hints[name]):
            shared[name] = getattr(data, name)
    return kind(**shared)
