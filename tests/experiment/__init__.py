"""The experiments that are tried: the shipped files, and one of them."""

import subprocess
from pathlib import Path

from lm_jax.experiment import load

ROOT = Path(__file__).parents[2]


def shipped() -> list[Path]:
    """The files that belong to the project, without a user's own beside them."""
    asked = ["git", "-C", str(ROOT), "ls-files", "experiments/*.py"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # not a checkout
        return sorted(ROOT.glob("experiments/*.py"))
    return sorted(ROOT / name for name in said.splitlines())


FILES = [file for file in shipped() if file.exists()]
RECIPE = load(str(ROOT / "experiments/gpt_shakespeare.py")).experiment
