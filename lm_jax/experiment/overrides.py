"""Change any field of an experiment from the command line."""

import dataclasses
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from lm_jax.command_line import (
    Flag,
    as_words,
    described,
    flag_of,
    split,
    take,
    writable,
)
from lm_jax.errors import UserError, nearest
from lm_jax.experiment.choices import short_names, unknown_field
from lm_jax.experiment.kinds import (
    annotation,
    annotations,
    at,
    changed,
    choose,
    kinds_at,
)
from lm_jax.experiment.leaves import fields
from lm_jax.experiment.value import AnyExperiment

_TEXT = ("data", "corpus", "source")
# What editors and web pages make of two hyphens.
_DASHES = {"\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212"}


def override(
    experiment: AnyExperiment,
    args: list[str],
    program: str,
    others: Iterable[str] = (),
) -> AnyExperiment:
    """Apply ``--dotted.name value`` pairs to an experiment.

    A field that holds one of several kinds of value also takes the name of a
    kind (``--model.positions Rotary``), whose fields can be set in turn.

    Args:
        experiment: what is changed.
        args: as they were typed. Another text drops the prompts of the one before.
        program: what was called, for messages: "./launch.sh train FILE".
        others: options that the command takes beside the fields.

    Raises:
        UserError: for an unknown name, with the nearest; for an unfit value, with
            what would fit; for a field that is given twice.
    """
    before, (first, flags) = experiment, split(args)
    if first:
        print_dash = " Its dashes are those of print." * bool(_DASHES & {*first[0][:2]})
        raise UserError(
            f"'{first[0]}' is no option: a field is changed by its name, as in "
            f"--seed 1.{print_dash} All fields: {program} --help"
        )
    short = short_names(experiment)
    named = [
        Flag(short.get(".".join(flag.path), flag.name), flag.words) for flag in flags
    ]
    typed = _each_once(named, flags)
    # A kind comes before the fields of its value.
    words = dict(sorted(((f.path, f.words) for f in named), key=lambda p: len(p[0])))
    changes: dict[tuple[str, ...], Any] = {}
    for path in words:
        flag = f"--{typed[path].name}"
        kinds = kinds_at(experiment, path)
        if kinds:
            experiment = _chosen(experiment, path, flag, words, kinds)
            continue
        hint = annotation(experiment, path)
        if hint is None:
            said = unknown_field(experiment, typed[path], path, others)
            raise UserError(f"{said} All fields: {program} --help")
        held = at(experiment, path)
        if words[path] == (type(held).__name__,) and dataclasses.is_dataclass(held):
            continue  # the kind that it is already
        _refuse_whole(flag, held, words[path])
        changes[path] = _read(flag, hint, words[path], held)
    return _fresh_prompts(before, changed(experiment, changes), words)


def _each_once(named: list[Flag], flags: list[Flag]) -> dict[tuple[str, ...], Flag]:
    """The flags as they were typed, by the path of the field that each changes.

    Raises:
        UserError: two change one field.
    """
    typed: dict[tuple[str, ...], Flag] = {}
    for flag, shown in zip(named, flags, strict=True):
        if flag.path in typed:
            one, other = (
                shlex.join([f"--{each.name}", *each.words])
                for each in (typed[flag.path], shown)
            )
            raise UserError(f"{one} and {other} change one field: give one of them.")
        typed[flag.path] = shown
    return typed


def _fresh_prompts(
    before: AnyExperiment, after: AnyExperiment, words: Mapping[tuple[str, ...], Any]
) -> AnyExperiment:
    """Another text is not begun with the prompts of the one before."""
    if at(before, _TEXT) == at(after, _TEXT):
        return after
    paths = [("evaluations", name, "prompt") for name in after.evaluations]
    return changed(
        after, {p: None for p in paths if at(after, p) is not None and p not in words}
    )


def _chosen(
    experiment: AnyExperiment,
    path: tuple[str, ...],
    flag: str,
    words: Mapping[tuple[str, ...], tuple[str, ...]],
    kinds: Mapping[str, type],
) -> AnyExperiment:
    """The experiment with the kind of value that was named, and its own fields."""
    if not words[path]:
        raise UserError(
            f"{flag} needs the name of a kind after it: {', '.join(kinds)}."
        )
    wanted, *rest = words[path]
    if wanted not in kinds:
        raise UserError(
            f"{flag} is one of several kinds of value, and '{wanted}' is none of "
            f"them.{nearest(wanted, kinds)}"
        )
    if rest:
        raise UserError(_too_much(flag, "the name of a kind", rest))
    kind, given = kinds[wanted], {}
    if dataclasses.is_dataclass(kind):
        for name, hint in annotations(kind).items():
            below = (*path, name)
            if below in words and writable(hint):
                given[name] = _read(flag_of(below), hint, words[below])
    return choose(experiment, path, kind, given)


def _read(flag: str, hint: Any, words: tuple[str, ...], now: Any = None) -> Any:
    """The value that words say.

    Raises:
        UserError: they say none of this type.
    """
    if not writable(hint):
        raise UserError(
            f"{flag} can't be typed: its value is no word but {described(hint)}. Write "
            "it into the experiment's file."
        )
    current = "" if now is None else f" It is {as_words(now)} now."
    try:
        value, rest = take(hint, words)
    except ValueError as error:
        given = f", not '{' '.join(words)}'" if words else ""
        verb = "takes" if words else "needs a value after it:"
        raise UserError(f"{flag} {verb} {error}{given}.{current}") from None
    if rest and rest == words:
        raise UserError(f"{flag} takes {described(hint)}, not '{rest[0]}'.{current}")
    if rest:
        raise UserError(_too_much(flag, described(hint), rest, words))
    return value


def _too_much(flag: str, wanted: str, rest: Iterable[str], words: Any = ()) -> str:
    """Say what stands after a value, and that spaces want quotes."""
    quoted = shlex.quote(" ".join(words))
    hint = f" What has spaces is quoted: {flag} {quoted}" if words else ""
    extra = " ".join(map(repr, rest))
    return f"{flag} takes {wanted}, and {extra} stands after it.{hint}"


def _refuse_whole(flag: str, held: Any, words: tuple[str, ...]) -> None:
    """Say how to change a value that is made of fields and has no other kinds."""
    if isinstance(held, Mapping):
        inner = f"{flag}.{next(iter(held), 'NAME')}"
        raise UserError(f"{flag} holds several values by name: {inner} is one.")
    if dataclasses.is_dataclass(held) and not isinstance(held, type):
        names = [f"{flag}.{f.name.replace('_', '-')}" for f in fields(held)]
        raise UserError(
            f"{flag} holds a {type(held).__name__}, whose fields are changed one by "
            f"one: {', '.join(names[:5])}{', ...' if names[5:] else '.'}"
            + ("" if names else " It has none.")
            + _first_field(flag, held, words)
            + _in_the_file(flag, words)
        )


def _first_field(flag: str, held: Any, words: tuple[str, ...]) -> str:
    """Say how one word is given to the first field, where that is a text."""
    first = fields(held)[0].name if fields(held) else ""
    if len(words) != 1 or not first or not isinstance(getattr(held, first), str):
        return ""
    if words[0][:1].isupper():  # the name of a kind
        return ""
    return f" Did you mean {flag}.{first} {shlex.quote(words[0])}?"


def _in_the_file(flag: str, words: tuple[str, ...]) -> str:
    """Say where another kind of value is written, if the name of one was typed."""
    if not words or not words[0][:1].isupper() or "." in flag:
        return ""
    field = flag.removeprefix("--")
    return (
        f" A {words[0]} has fields of its own to be said: write it into the "
        f"experiment's file, as a variant, replace(experiment, "
        f"{field}={words[0]}(...))."
    )
