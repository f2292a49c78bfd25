"""`test`: format, lint, types and the test suite, or part of the suite."""

import os
import subprocess
import sys
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.platform import called

_ROOT = Path(__file__).resolve().parents[2]
_HELP = """usage: ./launch.sh test [--all]
       ./launch.sh test ARGUMENTS OF PYTEST

Check the whole project: formatting, lint, types and tests; fifteen to twenty
minutes on two cores. What the tests compile is kept in .lm_jax/: the next time
takes less.

  --all   the slow proofs too, each property for every family and whole runs
          that are killed and go on: about half an hour more. Nothing that was
          compiled before is used.

Arguments go to pytest, which then runs alone, slow tests too; paths are
relative to the directory you are in:

  ./launch.sh test tests/models -k rotary"""


def main(args: list[str]) -> int:
    """Check the whole project; with arguments, run pytest alone with them.

    The tests that are marked slow are for ``--all``, and for arguments. Paths are
    relative to the working directory. Where the arguments name none, pytest runs the
    project's `tests`. Returns 0 when all passed, otherwise 1.

    Raises:
        UserError: there are no tests, because the package alone is installed.
    """
    if {"-h", "--help"} & set(args):
        print(_HELP.replace("./launch.sh", called()))
        return 0
    if not (_ROOT / "tests").is_dir():
        raise UserError(
            "The tests are not installed: they come with a checkout of the project, "
            "where ./launch.sh test runs them."
        )
    everything = args == ["--all"]
    whole = everything or not args
    marks = [] if everything else ["-m", "not slow"]
    checks = [*_CHECKS, _SUITE + marks] if whole else [_pytest(args)]
    folder = _ROOT if whole else Path.cwd()
    kept = {} if everything else {"JAX_COMPILATION_CACHE_DIR": str(_ROOT / _COMPILED)}
    failed = [
        " ".join(check[:2])
        for check in checks
        if not _passes(check, folder, kept | os.environ)
    ]
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
        return 1
    if whole:
        print("\nAll passed." if everything else "\nAll passed; --all has slow tests.")
    return 0


_CHECKS = [
    ["ruff", "format", "--check", "."],
    ["ruff", "check", "."],
    ["mypy"],
]
# With --all tests compile anew each time: a damaged cache shall not decide it.
_COMPILED = ".lm_jax/tests"
# A file's tests share what they trained: they stay in one process. Which begins is
# said by tests/conftest.py.
_SUITE = ["pytest", "tests", "-n", "auto", "--maxprocesses", "8"]
_SUITE += ["--dist", "loadfile", "--no-loadscope-reorder"]


def _pytest(args: list[str]) -> list[str]:
    command = ["pytest", "--rootdir", str(_ROOT), "-c", str(_ROOT / "pyproject.toml")]
    if not any(Path(arg.split("::")[0]).exists() for arg in args):
        command.append(str(_ROOT / "tests"))
    return command + args


def _passes(check: list[str], folder: Path, environment: dict[str, str]) -> bool:
    wait = ": a minute or two at first" if check == ["mypy"] else ""
    print(f"== {' '.join(check)}{wait}", flush=True)
    command = [sys.executable, "-m", *check]
    return subprocess.run(command, cwd=folder, env=environment).returncode == 0
