"""Each variant gets the best of the same values, on seeds that aren't compared."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.ablation import Study, integers, log_uniform, uniform
from lm_jax.ablation.distributions import points, range_of
from lm_jax.ablation.plan import make_plan
from lm_jax.commands import sweep
from lm_jax.errors import Diverged, UserError
from lm_jax.runs.display import Display
from lm_jax.statistics import words
from lm_jax.statistics.report import read_report
from lm_jax.sweeping import preview
from lm_jax.sweeping.checks import Resolved
from lm_jax.sweeping.sweep import carry_out
from tests.properties import quick
from tests.sweeping import test_sweep
from tests.sweeping.test_sweep import begin, end, in_folder, resolved_once, told

__all__ = ["in_folder", "resolved_once"]
RATES = log_uniform(1e-4, 1e-1)
STUDY = Study(seeds=2, tune={"schedule.peak": RATES}, trials=4)


@quick
@given(
    st.floats(1e-9, 1e3),
    st.floats(1.01, 1e6),
    st.sampled_from([log_uniform, uniform]),
    st.integers(4, 30),
)
def test_values_are_spread_over_the_whole_range(low, factor, kind, count):
    wide = kind(low, low * factor)
    values = sorted(point["x"] for point in points({"x": wide}, count))
    for k, value in enumerate(values):
        assert wide.low <= value <= wide.high
        # Four digits are told of each.
        rounded = (
            1e-3
            * value
            * (1 / value if wide.log else 1)
            / (math.log(factor) if wide.log else low * (factor - 1))
        )
        assert k / count - rounded <= wide.share(value) <= (k + 1) / count + rounded


def test_a_fields_values_are_its_own():
    alone = points({"schedule.peak": RATES}, 6)
    both = points({"model.dropout": uniform(0, 0.5), "schedule.peak": RATES}, 6)
    assert [p["schedule.peak"] for p in both] == [p["schedule.peak"] for p in alone]
    drops = [p["model.dropout"] * 2 for p in both]
    shares = [RATES.share(p["schedule.peak"]) for p in both]
    assert all(abs(a - b) > 1e-3 for a, b in zip(drops, shares, strict=True))
    found = {p["x"] for p in points({"x": integers(1, 3)}, 9)}
    assert found == {1, 2, 3} and all(type(n) is int for n in found)


def tuned_plan(study=STUDY):
    made = test_sweep.plan(study)
    both = {each.name: each.experiment for each in made.variants}
    return make_plan(both, made.folder, study)


def peak(cell):
    return cell.experiment.schedule.peak


class Trainer:
    """Trains nothing: base is best at a rate of 1e-3, wide at another."""

    def __init__(self, wide=1e-3, **fails):
        self.best, self.fails, self.asked = {"base": 1e-3, "wide": wide}, fails, []

    def __call__(self, cell, display):
        self.asked.append(cell)
        if fails := self.fails.get(cell.title.replace(" ", "_")):
            fails(cell)
        off = abs(math.log10(peak(cell) / self.best[cell.variant]))
        end(cell, score=2 + off + 0.001 * (cell.seed % 3) * (cell.variant == "wide"))


def swept(trainer, study=STUDY):
    return carry_out(tuned_plan(study), Display(0), trainer)


def test_trials_are_planned_alike_for_all_and_beforehand():
    made = tuned_plan()
    base, wide = (
        [(c.seed, peak(c)) for c in made.trials if c.variant == name]
        for name in ("base", "wide")
    )
    assert base == wide and len({rate for _, rate in base}) == 4
    assert not {seed for seed, _ in base} & {cell.seed for cell in made.cells}
    swept(Trainer())
    plan = json.loads(Path("runs/tiny/sweep.json").read_text())
    assert [p["schedule.peak"] for p in plan["points"]] == [r for _, r in base]
    assert len(plan["cells"]) == 2 * (4 + 2)
    assert plan["study"]["tune"] == {"schedule.peak": "log_uniform(0.0001, 0.1)"}


def test_the_best_is_trained_anew_on_other_seeds_and_compared():
    trainer = Trainer(wide=1e-2)
    report = swept(trainer)
    rates = sorted(point["schedule.peak"] for point in tuned_plan().points)
    chosen = {"base": rates[1], "wide": rates[2]}  # of decades: a tenth to 1, 1 to 10
    compared = [cell for cell in trainer.asked if cell.trial is None]
    assert [cell.trial is None for cell in trainer.asked] == [False] * 8 + [True] * 4
    assert {(c.variant, peak(c)) for c in compared} == set(chosen.items())
    assert {c.seed for c in compared} == {0, 1}
    assert report.comparisons["wide"].verdict != "no verdict"
    said = told(report)
    assert "Tuned by 4 trials of each (seeds 2 to 5):" in said
    assert f"base schedule.peak {rates[1]:g}," in said and "TRIED" not in said
    assert "of log_uniform(0.0001, 0.1) from its low end (logs)" in said
    assert max(map(len, words.lines(report))) <= 80
    again = Trainer(wide=1e-2)
    assert told(swept(again)) == said and again.asked == []
    # The folder alone says the same; without what was chosen it can't judge.
    folder = Path("runs/tiny")
    assert told(read_report(folder)) == said
    (folder / "tuned.json").write_text("{")
    with pytest.raises(UserError, match=r"tuned.json can't be read"):
        read_report(folder)
    (folder / "tuned.json").unlink()
    assert not read_report(folder).comparisons


@pytest.mark.parametrize(
    "wide", [log_uniform(1e-4, 1.0), uniform(-0.5, 2), integers(1, 9)], ids=str
)
def test_a_range_is_read_as_it_is_written(wide):
    assert range_of(str(wide)) == wide


def test_an_optimum_at_the_edge_gives_no_verdict():
    report = swept(Trainer(wide=1.0))
    assert report.comparisons["wide"].verdict == "no verdict"
    said = told(report)
    assert "THE LARGEST TRIED" in said
    assert "no verdict. schedule.peak of wide is the largest tried: the best" in said


@pytest.mark.slow
def test_a_trial_that_diverges_is_tried_and_one_that_fails_is_taken_up_again():
    def diverge(cell):
        begin(cell)
        (cell.run / "diverged_at_step_3").mkdir()
        raise Diverged("The loss is not finite.")

    def fail(cell):
        raise UserError("The disk is full.")

    trainer = Trainer(wide=1.0, wide_trial_1=fail)
    report = swept(trainer)
    assert len(trainer.asked) == 8 and report.chosen == {}
    assert "wide trial 1: failed" in told(report)
    largest = max(range(4), key=lambda k: tuned_plan().points[k]["schedule.peak"])
    run = Path(f"runs/tiny/wide/trial{largest}/result.json")
    run.unlink()
    later = Trainer(wide=1.0, **{f"wide_trial_{largest}": diverge})
    report = swept(later)
    assert {c.title for c in later.asked if c.trial is not None} == {
        "wide trial 1",
        f"wide trial {largest}",
    }
    # What diverged is larger, so the best lies within what was tried.
    assert report.chosen["wide"].edges == {} and report.lacking == []
    third = Trainer()
    swept(third)
    assert third.asked == []


def test_where_every_trial_diverges_it_is_said_and_not_tried_again(monkeypatch, capsys):
    def diverge(cell, display):
        begin(cell)
        (cell.run / "diverged_at_step_3").mkdir()
        raise Diverged("The loss is not finite.")

    report = swept(diverge)
    assert len(report.lacking) == 4 and report.chosen == {}
    assert "Every trial of wide diverged, so that nothing can be chosen" in told(report)
    monkeypatch.setattr(sweep, "planned", lambda _: tuned_plan())
    assert sweep.main(["tiny.py"]) == 1
    said = capsys.readouterr().out
    assert "Every trial of base diverged" in " ".join(said.split())
    assert "taken up again" not in said


def test_the_search_is_part_of_what_a_preview_adds_up():
    made = tuned_plan()
    each = Resolved(10, 1000.0, 1e6, 50, 10**6, "", {}, ())
    costs = [preview.Cost(v.name, each, None, 60.0) for v in made.variants]
    *_, trials, compared, whole = preview.lines(made, costs)
    assert trials.split()[:3] == ["8", "trials", "8.00k"] and "8.0m" in trials
    assert compared.split()[:3] == ["4", "compared", "4.00k"]
    assert whole.split()[:3] == ["all", "12", "12.0k"] and "12m" in whole


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tune": {"schedule.peek": RATES}}, "Did you mean --schedule.peak"),
        ({"tune": {"model.layers": uniform(1, 3)}}, "--model.layers takes"),
        ({"tune": {"model.width": integers(15, 17)}}, "wide and base|same as"),
    ],
)
def test_values_that_do_not_fit_are_refused_before_anything_runs(fields, said):
    with pytest.raises(UserError, match=said):
        tuned_plan(replace(STUDY, **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tune": {"schedule.peak": (1e-4, 1e-2)}}, "give a distribution"),
        ({"tune": {"seed": integers(0, 9)}}, "the best seed is no recipe"),
        ({"trials": 3}, "study.trials"),
        (
            {"tune": {"model.width": integers(8, 64)}, "match": "flops"},
            "would undo study.match='flops'",
        ),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        Study(**fields)


@pytest.mark.parametrize("ends", [(2.0, 1.0), (0.0, 1.0), (1.0, math.inf)])
def test_a_range_that_holds_nothing_is_refused(ends):
    with pytest.raises(UserError, match="log_uniform.*give two numbers"):
        log_uniform(*ends)
