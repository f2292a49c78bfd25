"""Which runs a law may be fitted to, what it says, and its prediction."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from lm_jax.__main__ import main
from lm_jax.commands import laws
from lm_jax.experiment import load
from lm_jax.laws.bootstrap import bootstrap
from lm_jax.laws.budget import Cost, best_parameters, growth
from tests.laws.ladder import LAW, planted, write_run
from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(laws, "bootstrap", partial(bootstrap, draws=10))
    return tmp_path


@pytest.fixture
def tiny():
    return replace(load("tiny.py").experiment, average=None)


@pytest.fixture
def ladder(tiny):
    for k, (size, tokens, loss) in enumerate(zip(*planted(0.003), strict=True)):
        experiment = replace(tiny, budget=f"{k + 2} steps")
        write_run(Path(f"runs/v{k}/seed0"), experiment, loss, size, tokens)


def said(capsys, *args, code=0):
    capsys.readouterr()
    assert (main(["laws", *args]) or 0) == code
    found = capsys.readouterr()
    assert max(map(len, (found.out + found.err).splitlines())) <= 80
    return " ".join((found.out + found.err).split())


def test_a_prediction_is_made_before_its_run_and_compared_with_it(ladder, tiny, capsys):
    asked = ["--predict", "6e6", "2e6", "--out", "law.png"]
    told = said(capsys, "runs", *asked)
    assert "16 runs on text.txt" in told and "v0/seed0 100k 125k 7.5e+10" in told
    assert "FLOPs a token: 6 N^1.000" in told
    assert image.imread("law.png").shape[1] > 600
    kept = Path("prediction.json").read_text()
    prediction = json.loads(kept)
    low, high = prediction["interval"]
    loss = prediction["loss"]
    assert abs(loss - LAW.loss(6e6, 2e6)) < 0.05
    assert low < loss < high and high - low < 0.2
    assert prediction["law"]["alpha"] != round(prediction["law"]["alpha"], 4)
    assert len(prediction["runs"]) == 16 and prediction["code"]["sources"]
    told = said(capsys, "runs", *asked, code=2)
    there = f"{loss:.4f} for 6,000,000 parameters on 2,000,000 tokens, made 20"
    assert f"prediction.json is there ({there}" in told and "N^1.000" not in told
    assert Path("prediction.json").read_text() == kept

    large = replace(tiny, budget="99 steps")
    size = {"parameters": 6.05e6, "tokens": 2e6, "began": "2100-01-01T00:00:00+00:00"}
    write_run(Path("large"), large, loss, **size)
    told = said(capsys, "large", "--check", "prediction.json")
    assert f"found {loss:.4f}, within the interval" in told
    assert "before the run began" in told
    assert told.endswith("kept in large/prediction.json")
    assert json.loads(Path("large/prediction.json").read_text()) == prediction
    Path("later.json").write_text(json.dumps(prediction | {"loss": 9.0}))
    told = said(capsys, "large", "--check", "later.json")
    assert f"not kept large/prediction.json has an earlier one: {there}" in told
    assert json.loads(Path("large/prediction.json").read_text()) == prediction
    write_run(Path("worse"), large, high + 0.5, **size | {"began": "2020-01-01"})
    told = said(capsys, "worse", "--check", "prediction.json")
    assert "above the interval by 0.5000" in told and "AFTER the run began" in told


def test_a_run_that_a_prediction_is_not_of_is_refused(ladder, tiny, capsys):
    said(capsys, "runs", "--predict", "1e5", "125000")
    check = ["--check", "prediction.json"]
    told = said(capsys, "runs/v0", *check, code=2)
    assert "one of the runs that the prediction was made of" in told
    assert "it has 250,000 tokens" in said(capsys, "runs/v1", *check, code=2)
    other = replace(tiny, data=replace(tiny.data, context=8))
    write_run(Path("other"), other, 2.0, 1e5, 125000)
    told = said(capsys, "other", *check, code=2)
    assert "can't be compared with what was predicted: data.context is 8 here" in told
    told = said(capsys, "other", "--check", "tiny.py", code=2)
    assert "tiny.py is no prediction" in told
    told = said(capsys, "other", *check, "--predict", "1", "2", code=2)
    assert "--check takes one run" in told


def test_runs_that_do_not_go_together_are_refused(tiny, capsys):
    write_run(Path("runs"), tiny, 3.0)
    for more, words in (
        ({"text": "abd"}, "text is abd here, and abc there"),
        ({"model": "Recurrent"}, "kind of model is Recurrent here"),
        ({"policy": "wide"}, "has no finite validation loss"),
        ({"rates": (1.0, 1.0)}, "it ended with 1 of its highest learning rate"),
    ):
        run = Path(f"more/{next(iter(more))}")
        write_run(run, tiny, 2.0, **more)
        assert words in said(capsys, "runs", str(run), code=2)
    write_run(Path("old"), tiny, 2.0)
    result = json.loads(Path("old/result.json").read_text())
    del result["flops"]
    Path("old/result.json").write_text(json.dumps(result))
    assert "says no FLOPs" in said(capsys, "runs", "old", code=2)
    write_run(Path("begun"), tiny, 2.0)
    Path("begun/result.json").unlink()
    assert "has not ended yet" in said(capsys, "runs", "begun", code=2)
    assert "There is no run at or below nope" in said(capsys, "nope", code=2)
    assert "give RUNS, a path" in said(capsys, code=2)
    assert "--flops -1.0: give more than 0" in said(
        capsys, "runs", "--flops=-1", code=2
    )
    told = said(capsys, "runs", "--predict", "0", "1e6", code=2)
    assert "--predict 0.0 1000000.0: give more than 0" in told


def test_what_a_sweep_tuned_by_is_no_point_of_a_law(ladder, tiny, capsys):
    """Its rates are the worse ones; elsewhere a run may be called as it likes."""
    other = replace(tiny, seed=7)
    write_run(Path("runs/v0/trial0"), other, 9.0, 1e5, 125000)
    assert "17 runs" in said(capsys, "runs")
    Path("runs/sweep.json").write_text("{}")
    assert "16 runs" in said(capsys, "runs")
    Path("runs/v0/trial0").rename("runs/v0/trial_of_mine")
    assert "17 runs" in said(capsys, "runs")


def test_seeds_epochs_and_edges_are_told(ladder, tiny, capsys):
    write_run(
        Path("runs/v0/seed1"), replace(tiny, seed=1), 3.3, 1e5, 125000, epochs=2.5
    )
    told = said(capsys, "runs", "--flops", "1e14")
    assert "17 runs" in told and "Texts were read up to 2.5 times" in told
    assert "Best of 1e+14 FLOPs" in told


def test_resamples_at_an_edge_leave_the_best_size_without_an_end(
    ladder, capsys, monkeypatch
):
    made = laws.bootstrap

    def flat(*given):
        """Resamples of which some say nothing of the size, and some of the text."""
        found = made(*given)
        edges = [replace(law, A=0.0) for law in found.laws[:3]]
        edges += [replace(law, B=0.0) for law in found.laws[3:6]]
        return replace(found, laws=(*edges, *found.laws[6:]))

    monkeypatch.setattr(laws, "bootstrap", flat)
    told = said(capsys, "runs", "--predict", "6e6", "2e6")
    assert "0 to any number" in told and "nan" not in told
    assert "6 of them lie at an edge" in told and Path("prediction.json").exists()


def test_the_best_size_for_a_budget_has_the_smallest_loss():
    cost, flops = Cost(9.0, 0.9), 1e13
    best = best_parameters(LAW, cost, flops)
    sizes = best * np.array([0.98, 1.0, 1.02])
    losses = LAW.loss(sizes, cost.tokens(sizes, flops))
    assert losses.argmin() == 1
    grown = best_parameters(LAW, cost, 100 * flops) / best
    assert grown == pytest.approx(100 ** growth(LAW, cost))
    assert growth(LAW, Cost(6.0, 1.0)) == pytest.approx(0.45 / 0.85)
