"""`test`: format, lint, types and the test suite, or part of the suite."""

import os
import subprocess
import sys
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.platform import called

_ROOT = Path(__file__).resolve().parents[2]
_HELP = """usage: ./launch.sh test [--quick] [arguments of pytest]

Check the whole project: formatting, lint, types and every test; twenty to
forty minutes on two cores.

  --quick   leave out the tests that are marked slow: the same checks in about
            five minutes on two cores. What they compile is kept in .lm_jax/, so
            the first time takes longer. For while you work: in the end, run all.

Other arguments go to pytest, which then runs alone; paths are relative to the
directory you are in:

  ./launch.sh test tests/models -k rotary
  ./launch.sh test --quick tests/data"""


def main(args: list[str]) -> int:
    """Check the whole project; with arguments, run pytest alone with them.

    ``--quick`` leaves out the tests that are marked slow. Paths are relative to the
    working directory. Where the arguments name none, pytest runs the project's
    `tests`. Returns 0 when all passed, otherwise 1.

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
    quick = "--quick" in args
    args = [arg for arg in args if arg != "--quick"]
    marks = ["-m", "not slow"] if quick else []
    checks = [_pytest(marks + args)] if args else [*_CHECKS, _SUITE + marks]
    folder = Path.cwd() if args else _ROOT
    kept = {"JAX_COMPILATION_CACHE_DIR": str(_ROOT / _COMPILED)} if quick else {}
    failed = [
        " ".join(check[:2])
        for check in checks
        if not _passes(check, folder, kept | os.environ)
    ]
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
        return 1
    if not args:
        print("\nAll passed, the slow tests left out." if quick else "\nAll passed.")
    return 0


_CHECKS = [
    ["ruff", "format", "--check", "."],
    ["ruff", "check", "."],
    ["mypy"],
]
# The whole suite compiles anew each time: a damaged cache shall not decide it.
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
    print(f"== {' '.join(check)}", flush=True)
    command = [sys.executable, "-m", *check]
    return subprocess.run(command, cwd=folder, env=environment).returncode == 0
