"""What a command line asks for: an experiment, its fields, and what lies beside it."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.commands.fields_help import fields_help
from lm_jax.errors import UserError
from lm_jax.evaluation import Sample
from lm_jax.experiment import Named, load
from lm_jax.experiment.overrides import override
from lm_jax.files import given_path
from lm_jax.platform import called
from lm_jax.runs.directory import find_run


class Resolved(NamedTuple):
    """What a command line asks for.

    Attributes:
        named: the experiment.
        run: the directory that was given for it.
        dropped: what to say of prompts that another text leaves out.
    """

    named: Named
    run: Path | None
    dropped: list[str]


def resolve(args: list[str], command: str) -> Resolved:
    """Read FILE[:VARIANT], --run, --from and overrides from the command line.

    Raises:
        UserError: for a name or value that doesn't fit.
        SystemExit: 0 after ``--help``.
    """
    address, rest = args[0], args[1:]
    run = None
    if command == "train":
        run, rest = _taken_path("--run", rest)
    source, rest = _taken_path("--from", rest)
    named = load(address)
    if source is not None:
        # A run that goes on does without what it began with.
        source = find_run(source) if source.exists() else source
        rest = ["--initial", "FromRun", f"--initial.run={source}", *rest]
    asked = {"-h", "--help"} & set(rest)
    rest = [arg for arg in rest if arg not in asked]
    own = {"train": ["run", "profile"], "plan": ["topology", "mesh"]}
    others = (*own.get(command, []), "from")
    program = f"{called()} {command} {address}"
    changed = override(named.experiment, rest, program, others)
    dropped = _dropped(named.experiment, changed, rest)
    named = replace(named, experiment=changed)
    if asked:
        print(fields_help(named, address, command))
        raise SystemExit(0)
    return Resolved(named, run, dropped)


def _dropped(before: Any, after: Any, args: list[str]) -> list[str]:
    """Name the prompts that another text leaves out, but for those typed so."""
    found = []
    for name, evaluation in after.evaluations.items():
        known = before.evaluations.get(name)
        if not isinstance(evaluation, Sample) or not isinstance(known, Sample):
            continue
        flag = f"--evaluations.{name}.prompt"
        typed = any(arg.startswith(flag) for arg in args)
        if typed or not known.prompt or evaluation.prompt == known.prompt:
            continue
        found.append(
            f"The file's {flag} {shlex.quote(known.prompt)} belongs to the text that "
            "was there before, and is left out: samples begin as the new text does."
        )
    return found


def _taken_path(flag: str, args: list[str]) -> tuple[Path | None, list[str]]:
    """Take a flag and the directory after it out of arguments."""
    given, rest = taken(flag, args, "a directory")
    return None if given is None else given_path(given, flag), rest


def taken(
    flag: str, args: list[str], what: str, often: bool = False
) -> tuple[str | None, list[str]]:
    """Take a flag and the word after it, or after its "=", out of arguments.

    Args:
        flag: that is looked for.
        args: as typed.
        what: the word should be.
        often: whether there may be more of them; the first is taken.

    Raises:
        UserError: there is no such word, or the flag is given twice.
    """
    if not often and sum(arg.partition("=")[0] == flag for arg in args) > 1:
        raise UserError(f"{flag} is given twice: give it once.")
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name != flag:
            continue
        after = index + 1 if equals else index + 2
        given = [value] if equals else args[index + 1 : after]
        if not given or (not equals and given[0].startswith("--")):
            raise UserError(f"{flag} needs {what} after it.")
        return given[0], args[:index] + args[after:]
    return None, args
