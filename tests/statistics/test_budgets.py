"""What had another budget, or not to its end, is shown and not judged."""

from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import Study
from lm_jax.runs.metrics import MetricsLog
from lm_jax.schedules import Constant
from lm_jax.statistics import words
from lm_jax.statistics.report import read_report
from tests.commands.test_compare import in_folder
from tests.report.made import end, made, tiny
from tests.tiny import write_tiny

__all__ = ["in_folder"]
TOKENS = "is trained on 600 tokens,"
RATE = "ended with 1 of its highest learning rate"
FOLDERS = "runs/tiny/base", "runs/tiny/wide"


@pytest.fixture(autouse=True)
def files(tmp_path):
    write_tiny(tmp_path)


def swept(experiments=None, **asked):
    """The cells of the second variant, of a sweep of five seeds."""
    plan = made(experiments, Study(seeds=5, **asked))
    for cell in plan.cells:
        end(cell, 12, parameters=10)
    return [cell for cell in plan.cells if cell.variant == "wide"]


def said():
    return " ".join(words.sentences(read_report(Path("runs/tiny"))))


def shortened(cells):
    for cell in cells:
        end(cell, 12, tokens=600.0, parameters=10)


def heightened(cells):
    for cell in cells:
        log = MetricsLog(cell.run / "metrics.jsonl")
        log.write(12, {"learning_rate": 1e-3})
        log.close()


@pytest.mark.parametrize("change, why", [(shortened, TOKENS), (heightened, RATE)])
def test_other_budgets_and_rates_still_high_give_no_verdict(change, why, capsys):
    cells = swept()
    assert "wide against base: worse." in said()
    change(cells)
    assert f"wide against base: no verdict. wide {why}" in said()
    assert main(["compare", *FOLDERS]) == 3
    out, err = (" ".join(each.split()) for each in capsys.readouterr())
    assert "B less A +0.196" in out and "B against A: no verdict." in out
    assert f"No verdict: B {why}" in err


def test_what_a_study_matched_is_the_budget(capsys):
    shortened(swept(match="flops"))
    assert "wide against base: worse." in said()
    assert main(["compare", *FOLDERS]) == 1
    assert "tokens" not in capsys.readouterr().err


@pytest.mark.parametrize("more, verdict", [({}, "worse."), ({"batch": 4}, RATE)])
def test_a_schedule_that_is_all_that_differs_is_judged_to_its_end(more, verdict):
    base = tiny()["base"]
    wide = replace(base, schedule=Constant(peak=1e-3), **more)
    heightened(swept({"base": base, "wide": wide}))
    assert verdict in said()


def test_metrics_that_are_lost_take_no_verdict_away():
    for cell in swept():
        (cell.run / "metrics.jsonl").unlink()
    assert "wide against base: worse." in said() and "learning rate" not in said()
