"""`test`: format, lint, types and the test suite, or part of the suite."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def main(args: list[str]) -> int:
    """Check the whole project; with arguments, run pytest alone with them.

    Paths are relative to the working directory. Where the arguments name none,
    pytest runs the project's `tests`. Returns 0 when all passed, otherwise 1.
    """
    checks = [_pytest(args)] if args else _CHECKS
    folder = Path.cwd() if args else _ROOT
    failed = [" ".join(check[:2]) for check in checks if not _passes(check, folder)]
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
        return 1
    if not args:
        print("\nAll passed.")
    return 0


_CHECKS = [
    ["ruff", "format", "--check", "."],
    ["ruff", "check", "."],
    ["mypy"],
    # A file's tests share what they trained: they stay in one process.
    ["pytest", "tests", "-n", "auto", "--maxprocesses", "8", "--dist", "loadfile"],
]


def _pytest(args: list[str]) -> list[str]:
    command = ["pytest", "--rootdir", str(_ROOT), "-c", str(_ROOT / "pyproject.toml")]
    if not any(Path(arg.split("::")[0]).exists() for arg in args):
        command.append(str(_ROOT / "tests"))
    return command + args


def _passes(check: list[str], folder: Path) -> bool:
    print(f"== {' '.join(check)}", flush=True)
    command = [sys.executable, "-m", *check]
    return subprocess.run(command, cwd=folder).returncode == 0
