"""What ``--help`` says of an experiment's fields."""

import textwrap

from lm_jax.command_line import flag_of
from lm_jax.commands.help import COLUMNS, tyro_help
from lm_jax.experiment import Named, flatten
from lm_jax.experiment.choices import kind_fields, short_names
from lm_jax.experiment.loading import parted
from lm_jax.platform import called


def fields_help(named: Named, address: str, command: str) -> str:
    """All fields of an experiment, its variants, and what else can be typed."""
    experiment, file = named.experiment, parted(address)[0]
    place = f"runs/{named.name}/{named.variant}/seed{experiment.seed}"
    lines = [f"usage: {called()} {command} {file}[:VARIANT]"]
    if command == "train":
        lines += [" " * 9 + "[--run DIRECTORY] [--from RUN] [--FIELD VALUE ...]", ""]
        lines += _entry("--run DIRECTORY", f"where the run lies; {place} if not given")
        lines += _entry("--processes N", "so many processes of this machine together")
    elif command == "plan":
        lines += [" " * 9 + "[--topology NAMES] [--slices N] [--mesh SIZES]..."]
        lines += [" " * 9 + "[--scaling PICTURE] [--json] [--from RUN]"]
        lines += [" " * 9 + "[--FIELD VALUE ...]", ""]
        lines += _entry("--topology NAMES", "devices to compile for: v5e:4x4,cpu:8")
        lines += _entry("--slices N", "of each, over the data centre's network")
        lines += _entry(
            "--mesh SIZES", "as in data=2,fsdp=8; may be said several times"
        )
        lines += _entry("--scaling PICTURE", "draw computing and sending by chips")
        lines += _entry("--json", "all figures as one object")
    else:
        lines += [" " * 9 + "[--from RUN] [--FIELD VALUE ...]", ""]
    lines += _entry("--from RUN", "begin with the parameters of another run")
    short = " ".join(flag_of([name]) for name in short_names(experiment))
    if short:
        lines += _entry(short, "short for --execution. ... of that name, below")
    if named.variants:
        lines += ["", *_listed("variants: " + ", ".join(named.variants))]
    lines += ["", "A field that holds one of several kinds of value takes their names:"]
    for flag, kinds in kind_fields(experiment):
        lines += _listed(f"  {flag} {{{', '.join(kinds)}}}")
    try:
        shown = tyro_help(type(experiment), address, experiment)
        shown = shown.split("\n options\n", 1)[1].split("\n", 1)[1]
    except Exception:  # the types of a user's own kind may be what tyro can't read
        fields = flatten(experiment).items()
        shown = "\n".join(f"  --{name}\n        (now: {now})" for name, now in fields)
    return "\n".join([*lines, "", "fields", shown])


def _entry(flags: str, what: str) -> list[str]:
    return [*_listed(f"  {flags}", indent=2), *_listed(" " * 8 + what)]


def _listed(text: str, indent: int = 6) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS - 2,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
