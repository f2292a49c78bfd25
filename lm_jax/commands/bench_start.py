"""Measure what people wait for before anything is learnt: how commands begin."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lm_jax.bench import small_families
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.runs.display import Display

WAITS = ("show", "cold step", "warm step", "evaluate", "generate", "runs", "table")
_PACKAGE = Path(__file__).parents[2]
_FIRST = re.compile(r"\b1/\d+\b")
Seconds = dict[str, float]


@dataclass(frozen=True)
class Options:
    """Time the commands on a small experiment of each family, from their first moment.

    "cold step": to the first step of training, with nothing compiled and no tokens
    kept; "warm step": the same again; n-grams have no steps, and it is their end.
    The others run to their end. Seconds are those of the clock, the median of all
    rounds.
    """

    families: tuple[str, ...] = tuple(small_families.variants)
    """Variants of lm_jax/bench/small_families.py."""
    rounds: int = 3
    """How often each is timed."""
    against: Path | None = None
    """A folder with another lm_jax, such as an older checkout: each round times both,
    one after the other."""
    json: bool = False
    """Print all figures as one object."""


def main(args: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: for a family that isn't there, or a folder without lm_jax.
    """
    options = read_options(Options, "bench start", args)
    for name in options.families:
        if name not in small_families.variants:
            known = ", ".join(small_families.variants)
            raise UserError(f"There is no family '{name}'. There is: {known}.")
    packages = [_PACKAGE]
    if options.against is not None:
        if not (options.against / "lm_jax" / "__main__.py").is_file():
            raise UserError(f"--against: {options.against} has no lm_jax in it.")
        packages.append(options.against.absolute())
    if options.rounds < 1:
        raise UserError("--rounds must be 1 or more.")
    display, found = Display(0, sys.stderr), {}
    for name in options.families:
        with display.waiting(f"timing {name}"):
            rounds = [
                [_round(package, name) for package in packages]
                for _ in range(options.rounds)
            ]
        found[name] = [
            {
                wait: statistics.median(each[place][wait] for each in rounds)
                for wait in rounds[0][place]
            }
            for place in range(len(packages))
        ]
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(report(found)))


def _round(package: Path, name: str) -> Seconds:
    """Time each command once, in a folder that is new."""
    address = f"{package / 'lm_jax' / 'bench' / 'small_families.py'}:{name}"
    train = ["train", address, "--run", "runs/x"]
    with tempfile.TemporaryDirectory(prefix="lm_jax_start_") as folder:

        def timed(*command: str, first: bool = False) -> float:
            return _seconds(package, Path(folder), [*command], first)

        found = {"cold step": timed(*train, first=True)}
        shutil.rmtree(Path(folder, "runs"))
        found["warm step"] = timed(*train, first=True)
        shutil.rmtree(Path(folder, "runs"))
        timed(*train)
        found["show"] = timed("show", address)
        found["evaluate"] = timed("evaluate", "runs/x")
        if name != "skipgram":
            found["generate"] = timed("generate", "runs/x")
        found |= {"runs": timed("runs"), "table": timed("table")}
    return found


def _seconds(package: Path, folder: Path, command: list[str], first: bool) -> float:
    """Seconds that a command takes, or takes to its first step.

    Raises:
        UserError: the command fails, with what it said.
    """
    places = {"PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1"}
    begin, said = time.perf_counter(), []
    with subprocess.Popen(
        [sys.executable, "-m", "lm_jax", *command],
        cwd=folder,
        env=os.environ | places,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if first and _FIRST.search(line):
                seconds = time.perf_counter() - begin
                process.kill()
                return seconds
    if process.returncode:
        raise UserError(f"{' '.join(command)} failed:\n{''.join(said[-20:])}")
    return time.perf_counter() - begin


def report(found: dict[str, list[Seconds]]) -> list[str]:
    """The lines of a table: a row a family, two where two were timed."""
    head = "".join(f"{wait:>10}" for wait in WAITS)
    lines = [f"{'seconds':<10}{head}"]
    for name, packages in found.items():
        for place, seconds in enumerate(packages):
            row = "".join(
                f"{seconds[wait]:>10.2f}" if wait in seconds else f"{'-':>10}"
                for wait in WAITS
            )
            lines.append(f"{(name, 'other')[place]:<10}{row}")
    return lines
