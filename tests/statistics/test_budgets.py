"""A verdict says beside it what had another budget, or not to its end."""

from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import Study
from lm_jax.runs.metrics import MetricsLog
from lm_jax.statistics import words
from lm_jax.statistics.report import read_report
from tests.commands.test_compare import in_folder
from tests.report.made import end, made
from tests.tiny import write_tiny

__all__ = ["in_folder"]
TOKENS = "wide is trained on 600 tokens, base on 1.20k."
RATE = "wide ended with 1 of its highest learning rate"


@pytest.fixture
def swept(tmp_path):
    """The cells of a sweep of five seeds, by variant."""
    write_tiny(tmp_path)
    plan = made(study=Study(seeds=5))
    for cell in plan.cells:
        end(cell, 12, parameters=10)
    return [cell for cell in plan.cells if cell.variant == "wide"]


def said():
    return " ".join(words.sentences(read_report(Path("runs/tiny"))))


def test_other_budgets_and_rates_that_have_not_decayed_are_said(swept, capsys):
    assert "wide against base: worse." in said()
    assert "tokens" not in said() and "learning rate" not in said()
    for cell in swept:
        end(cell, 12, tokens=600.0, parameters=10)
        log = MetricsLog(cell.run / "metrics.jsonl")
        log.write(12, {"learning_rate": 1e-3})
        log.close()
    assert "worse." in said() and TOKENS in said() and RATE in said()
    assert main(["compare", "runs/tiny/base", "runs/tiny/wide"]) == 1
    beside = " ".join(capsys.readouterr().err.split())
    assert "A is trained on 1,200 tokens, B on 600." in beside
    assert "B ended with 1 of its highest" in beside and "A ended" not in beside


def test_metrics_that_are_lost_take_no_verdict_away(swept):
    for cell in swept:
        (cell.run / "metrics.jsonl").unlink()
    assert "wide against base: worse." in said() and "learning rate" not in said()
