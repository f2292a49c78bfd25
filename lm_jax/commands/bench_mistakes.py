"""Measure the tests: plant mistakes in the code one by one, and see which notice."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from lm_jax.commands.options import read_options
from lm_jax.errors import UserError, nearest
from lm_jax.files import write_json

ROOT = Path(__file__).resolve().parents[2]
LIST = "tests/mistakes.toml"
_LEFT_OUT = {".git", ".venv", ".lm_jax", ".hypothesis", "runs"}
_FAILED = re.compile(
    r"^(?:FAILED|ERROR) (tests\S*?(?:::.*?)?)(?: - .*)?$", re.MULTILINE
)


@dataclass(frozen=True)
class Options:
    """Plant the mistakes of tests/mistakes.toml in a copy of this checkout.

    Of each, the tests of its file run first, then those of its room, then all
    others, the quick ones before the slow, until one fails that passes without it.
    """

    jobs: int = 1
    """Mistakes that are tried side by side."""
    only: tuple[str, ...] = ()
    """Names of the mistakes to try; all, if none is given."""
    near: bool = False
    """Leave out the tests of other files: for while you write those of a file."""
    seconds: int = 1800
    """What the tests may take in each of these parts."""
    write: Path | None = None
    """Write the results here as JSON too."""


@dataclass(frozen=True)
class Mistake:
    """One wrong line, planted in place of the right one.

    Attributes:
        name: of the mistake.
        file: in which it is planted.
        old, new: the text that it takes the place of, and its own.
        breaks: the property that no longer holds.
        tests: where that is tested, if not in the tests of the file.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...] = ()

    def planted(self, text: str) -> str:
        """Give the text of the file with the mistake in it.

        Raises:
            UserError: what it takes the place of doesn't stand there once.
        """
        if text.count(self.old) != 1:
            raise UserError(
                f"{LIST}, [{self.name}]: its old text stands {text.count(self.old)} "
                f"times in {self.file}, not once. Copy it from there again."
            )
        return text.replace(self.old, self.new)

    def stages(self, root: Path) -> Iterator[list[str]]:
        """Give pytest's arguments, part after part: the nearest tests first."""
        path = Path(self.file).relative_to("lm_jax")
        mirror = Path("tests", path.parent, f"test_{path.name}")
        room = Path("tests", path.parts[0])
        near = list(self.tests) or [str(p) for p in (mirror,) if (root / p).exists()]
        done = [f"--ignore={part}" for part in near if "::" not in part]
        parts = [near] if near else []
        parts += [[str(room), *done]] if (root / room).is_dir() else []
        parts += [["tests", *done, f"--ignore={room}"]]
        for part in parts:
            for speed in ("not slow", "slow"):
                yield [*part, "-m", speed]


@dataclass
class Copy:
    """A copy of the checkout.

    Attributes:
        root: where it lies.
        passing, failing: tests that were seen to pass or fail without a mistake.
    """

    root: Path
    passing: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)

    def failed(self, arguments: list[str], seconds: int) -> str | None:
        """Give the first test that fails, "" for none, None where time is over."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", *arguments]
        # The list's own test notices that a text is gone, whatever stands there now.
        command += ["--ignore=tests/test_mistakes.py"]
        command += ["-p", "no:cacheprovider", "--hypothesis-seed=0"]
        command += [f"--deselect={test}" for test in sorted(self.failing)]
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            # Two mistakes of one length within a second would have one file of code.
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_COMPILATION_CACHE_DIR": str(self.root.parent / "compiled"),
        }
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
        found = _FAILED.search(said)
        if found is None and process.returncode not in (0, 5):  # 5: no test was there
            raise UserError(f"pytest ended otherwise than by a test:\n{said[-2000:]}")
        return found[1] if found else ""

    def passes(self, test: str, seconds: int) -> bool:
        """Whether a test passes as the code stands; asked once."""
        if test not in self.passing | self.failing:
            passed = self.failed([test], seconds) == ""
            (self.passing if passed else self.failing).add(test)
        return test in self.passing


@dataclass(frozen=True)
class Result:
    """What came of a mistake: the test that failed, or "", and the seconds."""

    mistake: Mistake
    caught_by: str
    seconds: float


def main(args: list[str]) -> int:
    """Print by which test each mistake is caught; 1 if one is not.

    Raises:
        UserError: for options that can't be met, or a list that doesn't fit.
    """
    options = read_options(Options, "bench mistakes", args)
    if options.jobs < 1 or options.seconds < 1:
        raise UserError("--jobs and --seconds must be 1 or more.")
    mistakes = chosen(read_mistakes(ROOT), options.only)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for result in _tried(mistakes, options, Path(folder)):
            results.append(result)
            by = result.caught_by or f"NOT CAUGHT: {result.mistake.breaks}"
            name, seconds = result.mistake.name, result.seconds
            print(f"{len(results):>3}  {name:<34}{seconds:>6.0f} s  {by}", flush=True)
    caught = sum(bool(result.caught_by) for result in results)
    print(f"{caught} of {len(results)} caught: {caught / len(results):.1%}")
    if options.write is not None:
        write_json(options.write, _document(results))
    return 0 if caught == len(results) else 1


def read_mistakes(root: Path) -> list[Mistake]:
    """Read the list of a checkout, each checked against the file it is planted in.

    Raises:
        UserError: there is no list, or an entry doesn't fit its file.
    """
    try:
        entries = tomllib.loads((root / LIST).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{root / LIST} can't be read: mistakes are planted in a checkout of "
            "lm_jax, with its tests."
        ) from error
    mistakes, problems = [], []
    for name, entry in entries.items():
        entry["tests"] = tuple(entry.get("tests", ()))
        mistakes.append(Mistake(name, **entry))
        path = root / mistakes[-1].file
        try:
            mistakes[-1].planted(path.read_text(encoding="utf-8"))
        except (OSError, UserError) as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return mistakes


def chosen(mistakes: list[Mistake], names: tuple[str, ...]) -> list[Mistake]:
    """Give the mistakes of some names; all, if there are none.

    Raises:
        UserError: there is none of that name.
    """
    known = {mistake.name: mistake for mistake in mistakes}
    for name in names:
        if name not in known:
            raise UserError(f"There is no mistake '{name}'.{nearest(name, known)}")
    return [known[name] for name in names] or mistakes


def _tried(mistakes: list[Mistake], options: Options, folder: Path) -> Iterator[Result]:
    copies: Queue[Copy] = Queue()
    for job in range(min(options.jobs, len(mistakes))):
        root = folder / f"job{job}" / "checkout"
        shutil.copytree(ROOT, root, ignore=_left_out)
        copies.put(Copy(root))

    def one(mistake: Mistake) -> Result:
        copy = copies.get()
        try:
            stages = list(mistake.stages(copy.root))
            stages = stages[:2] if options.near else stages
            return try_mistake(mistake, copy, stages, options.seconds)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(copies.qsize()) as pool:
        yield from pool.map(one, mistakes)


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What stands in a checkout, or in its folders, and is not of the project."""
    apart = _LEFT_OUT if Path(folder) == ROOT else set()
    return {name for name in names if name in apart | {"__pycache__"}}


def try_mistake(
    mistake: Mistake, copy: Copy, stages: list[list[str]], seconds: int
) -> Result:
    """Plant a mistake in a copy, find the test that fails for it, take it out.

    A test that fails without it as well has not caught it: the others go on.
    """
    begin, path = time.monotonic(), copy.root / mistake.file
    right = path.read_text(encoding="utf-8")
    caught = ""
    for arguments in stages:
        while not caught:
            path.write_text(mistake.planted(right), encoding="utf-8")
            try:
                test = copy.failed(arguments, seconds)
            finally:
                path.write_text(right, encoding="utf-8")
            if not test:
                break
            caught = test if copy.passes(test, seconds) else ""
    return Result(mistake, caught, time.monotonic() - begin)


def _document(results: list[Result]) -> dict:
    caught = sum(bool(result.caught_by) for result in results)
    return {
        "mistakes": len(results),
        "caught": caught,
        "each": [
            {
                "name": result.mistake.name,
                "file": result.mistake.file,
                "breaks": result.mistake.breaks,
                "caught_by": result.caught_by or None,
                "seconds": round(result.seconds, 1),
            }
            for result in results
        ],
    }
