"""Searches by Optuna: the same for all variants, and decided by the losses alone."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lm_jax.__main__ import main
from lm_jax.ablation import Study, integers, uniform
from lm_jax.ablation.plan_file import claim_plan
from lm_jax.ablation.search import falls_behind, random_points
from lm_jax.ablation.states import pruned_at
from lm_jax.ablation.tune import pruner_of
from lm_jax.errors import Diverged, UserError
from lm_jax.runs.display import Display
from lm_jax.runs.metrics import MetricsLog
from lm_jax.statistics import words
from lm_jax.statistics.report import read_report
from lm_jax.sweeping import preview
from lm_jax.sweeping.cells import run_cell
from lm_jax.sweeping.checks import Resolved, resolve
from lm_jax.training.progress import Progress
from tests.ablation.test_tune import RATES, STUDY, peak, swept, tuned_plan
from tests.properties import quick, slow_but
from tests.sweeping.test_sweep import begin, end, in_folder, resolved_once, told

__all__ = ["in_folder", "resolved_once"]
HALVING = replace(STUDY, trials=8, search="halving")
EVALUATIONS = 4


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def evaluated_often(in_folder):
    """Four evaluations: rungs at the first and the third."""
    text = Path("tiny.py").read_text()
    text = text.replace('Likelihood("2 steps")', 'Likelihood("1 step")')
    longer = text.replace('budget="2 steps"', f'budget="{EVALUATIONS} steps"')
    Path("tiny.py").write_text(longer)


class Halved:
    """Trains nothing: writes evaluations, and asks at each whether to go on."""

    def __init__(self, **fails):
        self.asked, self.fails = [], fails

    def __call__(self, cell, display):
        self.asked.append(cell.title)
        if cell.trial is None:
            return end(
                cell, score=2 + 0.01 * cell.seed + 0.1 * (cell.variant != "base")
            )
        begin(cell)
        prune, log = pruner_of(cell), MetricsLog(cell.run / "metrics.jsonl")
        log.truncate_after(0)
        progress = Progress()
        if prune(progress):  # asked before the first step too, as training does
            return None
        for step in range(1, EVALUATIONS + 1):
            loss = curve(cell, step)
            log.write(step, {"validation_loss": loss})
            if fails := self.fails.get(f"{cell.title} {step}".replace(" ", "_")):
                fails(cell)
            progress.add(step, loss, larger_is_better=False)
            if step < EVALUATIONS and prune(progress):
                return None
        return end(cell, score=loss)


def curve(cell, step):
    """The best rate is 1e-3 at the end, and a large one at first."""
    off = np.log10(peak(cell)) + 3
    return 2 + float(off**2) + (0.5 - off / 10) / step


def decisions(folder=Path("runs/tiny")):
    """Where each trial ended that was stopped early."""
    trials = sorted(folder.glob("*/trial*"))
    return {str(run): pruned_at(run) for run in trials}


def test_random_values_are_a_fields_own_and_fill_its_range(optuna):
    ranges = {"x": RATES, "n": integers(1, 3), "d": uniform(0, 0.5)}
    found = random_points(ranges, 200)
    assert [p["x"] for p in found] == [p["x"] for p in random_points({"x": RATES}, 200)]
    assert found[:50] == random_points(ranges, 50)
    shares = {name: [ranges[name].share(p[name]) for p in found] for name in ("x", "d")}
    for values in shares.values():
        assert stats.kstest(values, "uniform").pvalue > 0.01
    assert abs(stats.pearsonr(*shares.values())[0]) < 0.2
    counts = np.bincount([p["n"] for p in found])
    assert counts[0] == 0 and stats.chisquare(counts[1:]).pvalue > 0.01
    assert all(type(p["n"]) is int and float(f"{p['x']:.4g}") == p["x"] for p in found)


def test_random_values_are_planned_alike_for_all_and_beforehand(optuna):
    made = tuned_plan(replace(STUDY, search="random"))
    base, wide = (
        [(c.seed, peak(c)) for c in made.trials if c.variant == name]
        for name in ("base", "wide")
    )
    assert base == wide and made.points != tuned_plan(STUDY).points
    claim_plan(made)
    path = Path("runs/tiny/sweep.json")
    plan = json.loads(path.read_text())
    assert [p["schedule.peak"] for p in plan["points"]] == [rate for _, rate in base]
    assert claim_plan(made) is False
    plan["points"][2]["schedule.peak"] *= 2
    path.write_text(json.dumps(plan))
    with pytest.raises(UserError, match="other values were drawn there"):
        claim_plan(made)


@pytest.mark.parametrize("search", ["random", "halving"])
def test_without_optuna_one_message_names_the_extra(search, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    Path("tiny.py").write_text(
        Path("tiny.py").read_text()
        + "\nfrom lm_jax.ablation import log_uniform\n"
        + "study = Study(tune={'schedule.peak': log_uniform(1e-4, 1e-2)}, "
        + f"search='{search}')\n"
    )
    for preview_too in ([], ["--preview"]):
        assert main(["sweep", "tiny.py", *preview_too]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "LM_JAX_EXTRAS=search" in said
    assert not Path("runs").exists()
    # What was asked can be read without it.
    study = replace(STUDY, search=search)
    assert Study.from_written(study.written()) == study


def rank(rivals, losses):
    """Whether the last loss, at a rung, is not among the best third there."""
    here = [each[len(losses) - 1] for each in rivals if len(each) >= len(losses)]
    better = sum(loss < losses[-1] for loss in here)
    return len(losses) in (1, 3, 9) and better >= max(1, (len(here) + 1) // 3)


@quick
@given(st.lists(st.lists(st.floats(0, 9), min_size=10, max_size=10), max_size=9))
def test_who_is_not_among_the_best_third_at_a_rung_is_stopped(curves):
    pytest.importorskip("optuna")
    through = []
    for losses in curves:
        assert not falls_behind(through, [])
        for seen in range(1, 10):
            behind = falls_behind(through, losses[:seen])
            assert behind == rank(through, losses[:seen])
            if behind:
                break
        through.append(losses[: seen if behind else 10])
    assert not through or len(through[0]) == 10


def test_a_trial_that_falls_behind_is_stopped_listed_and_no_failure(optuna, capsys):
    report = swept(Halved(), HALVING)
    pruned = {run: step for run, step in decisions().items() if step}
    assert pruned and set(pruned.values()) <= {1, 3} and len(pruned) < 16
    found = {str(p.run): s for p, s in report.states.items() if p.trial is not None}
    assert len(found) == 16 and {s.word for s in found.values()} == {"ended", "pruned"}
    for run, step in pruned.items():
        assert found[run] == ("pruned", f"at step {step}")
        assert not Path(run, "result.json").exists()
    assert report.lacking == [] and report.comparisons["wide"].mean > 0.09
    ended = [
        peak(c) for c in tuned_plan(HALVING).trials if found[str(c.run)].word == "ended"
    ]
    best = min(ended, key=lambda rate: abs(np.log10(rate) + 3))
    assert report.chosen["base"].values == {"schedule.peak": best}
    rows = capsys.readouterr().out
    assert "pruned        at step 1" in rows and max(map(len, rows.splitlines())) <= 80


def test_the_report_counts_what_was_stopped_early(optuna):
    report = swept(Halved(), HALVING)
    steps = [s for run, s in decisions().items() if s and "/base/" in run]
    said = told(report)
    assert f"{len(steps)} of 8 trials were stopped early, at steps 1 to " in said
    assert (
        "each variant had the same values, seeds and rule, not the same steps" in said
    )
    assert max(map(len, words.lines(report))) <= 80
    assert told(read_report(Path("runs/tiny"))) == said


class Killed(BaseException):
    pass


def kill(cell):
    raise Killed


@pytest.mark.parametrize(
    "at",
    slow_but(["base_trial_3_1", "wide_trial_5_1", "wide_trial_0_4"], "base_trial_3_1"),
)
def test_killed_and_started_again_it_decides_the_same(optuna, at):
    swept(Halved(), HALVING)
    whole = decisions()
    Path("runs").rename("before")
    with pytest.raises(Killed):
        swept(Halved(**{at: kill}), HALVING)
    again = Halved()
    report = swept(again, HALVING)
    assert decisions() == whole and report.comparisons
    assert at.rpartition("_")[0].replace("_", " ") == again.asked[0]


def test_nobody_is_judged_beside_a_trial_that_failed(optuna):
    """It is taken up again; what came after it waits, so that decisions stay."""

    def fail(cell):
        raise UserError("The disk is full.")

    swept(Halved(), HALVING)
    whole = decisions()
    Path("runs").rename("before")
    first = Halved(wide_trial_1_1=fail)
    report = swept(first, HALVING)
    asked = [title for title in first.asked if "wide" in title]
    assert asked == ["wide trial 0", "wide trial 1"] and not report.chosen
    assert len([title for title in first.asked if "base" in title]) == 8
    waits = [s for s in report.states.values() if "waits" in s.told]
    assert len(waits) == 6 and {s.word for s in waits} == {"missing"}
    report = swept(Halved(), HALVING)
    assert decisions() == whole and report.comparisons


def test_what_diverged_is_no_rival(optuna):
    """It was the best at first; without it the next is."""

    def diverge(cell):
        (cell.run / "diverged_at_step_2").mkdir()
        raise Diverged("The loss is not finite.")

    study = replace(HALVING, trials=4)
    first, *_ = sorted(tuned_plan(study).trials, key=lambda c: curve(c, 1))
    fails = {f"{name}_trial_{first.trial}_2": diverge for name in ("base", "wide")}
    report = swept(Halved(**fails), study)
    ended = [s for p, s in report.states.items() if p.trial is not None]
    assert [s.word for s in ended].count("diverged") == 2
    assert report.comparisons and report.chosen["base"].trial != first.trial


@pytest.mark.slow
def test_a_real_trial_stops_where_it_falls_behind(optuna, capsys):
    """Its rival is planted; kept is the checkpoint of the evaluation, and no result."""
    _, second = (c for c in tuned_plan(HALVING).trials[:4] if c.variant == "base")
    (rival,) = second.rivals
    rival.mkdir(parents=True)
    log = MetricsLog(rival / "metrics.jsonl")
    for step, loss in enumerate((9.0, 9.0, 0.1, 0.1), start=1):
        log.write(step, {"validation_loss": loss})
    log.close()
    assert run_cell(second, Display(0)) is None
    assert pruned_at(second.run) == 3
    steps = {int(each.name) for each in (second.run / "checkpoints").glob("[0-9]*")}
    assert max(steps) == 3 and not (second.run / "result.json").exists()
    # Killed before the decision was written: it is made again, and no step.
    (second.run / "pruned_at_step_3").unlink()
    metrics = (second.run / "metrics.jsonl").read_text()
    run_cell(second, Display(0))
    assert pruned_at(second.run) == 3
    assert (second.run / "metrics.jsonl").read_text() == metrics


def test_a_preview_adds_up_the_most(optuna):
    each = Resolved(10, 1000.0, 1e6, 50, 10**6, "", {}, ())
    made = tuned_plan(HALVING)
    costs = [preview.Cost(v.name, each, None, 60.0) for v in made.variants]
    *_, trials, _, whole = preview.lines(made, costs)
    assert trials.split()[:5] == ["at", "most", "16", "trials", "16.0k"]
    assert whole.split()[:5] == ["at", "most", "all", "20", "20.0k"]


def test_halving_needs_evaluations_before_the_end(optuna):
    text = Path("tiny.py").read_text()
    Path("tiny.py").write_text(text.replace('d("1 step")', 'd("9 steps")'))
    with pytest.raises(UserError, match="base is evaluated at its end alone"):
        resolve(tuned_plan(HALVING))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"search": "halve"}, "no search. Did you mean 'halving'"),
        ({"search": "random", "tune": {}}, "needs study.tune"),
    ],
)
def test_a_search_that_is_none_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        replace(STUDY, **fields)
