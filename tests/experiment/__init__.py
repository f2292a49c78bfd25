"""The experiments that are tried: the shipped files, and one of them."""

from pathlib import Path

from lm_jax.experiment import load

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("experiments/*.py"))
RECIPE = load(str(ROOT / "experiments/gpt_shakespeare.py")).experiment
