"""The mean of the last checkpoints: of which it is, and that stops don't change it."""

import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.averages import AverageAfter, LastCheckpoints, MovingAverage
from lm_jax.errors import UserError
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.runs.result import find_scores, read_result
from tests.tiny import write_tiny

LAST = ("--average", "LastCheckpoints", "--average.count", "3")
EVERY = ("--evaluations.likelihood.every", "2 steps")


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)


def train(run, *args, keep="1", budget="9 steps"):
    more = ("--keep", keep, "--budget", budget)
    return main(["train", "tiny.py", "--run", run, *LAST, *EVERY, *more, *args])


def weights(run, step):
    """Of a checkpoint, not averaged."""
    checkpoints = Checkpoints(Path(run, "checkpoints"), 9)
    shapes = load_model(run, step).params
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
    )
    return jax.device_get(checkpoints.read_params(step, like))


def validation(run):
    rows = read_metrics(Path(run, "metrics.jsonl"))
    return {r["step"]: r["validation_loss"] for r in rows if "validation_loss" in r}


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["False", "True"])
def test_what_is_used_is_the_mean_of_the_last_checkpoints(scan, capsys):
    assert train("run", "--scan", scan, "--model.layers", "2", keep="9") == 0
    for last, steps in ((2, (2,)), (4, (2, 4)), (8, (4, 6, 8)), (9, (6, 8, 9))):
        three = [weights("run", step) for step in steps]
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *three)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
            mean,
            jax.device_get(load_model("run", last).params),
        )
    assert main(["evaluate", "run", "--step", "9"]) == 0
    loss = find_scores(read_result(Path("run")), "validation", "end")["loss"]
    assert loss == pytest.approx(validation("run")[9], abs=1e-6)
    assert f"{loss:.6f}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stop_between_evaluations_changes_nothing(monkeypatch):
    from lm_jax.training import loop

    assert train("whole") == 0
    feed = loop._feed

    def interrupted(setup, first):
        for item in feed(setup, first):
            if item[0] in (5, 7):
                os.kill(os.getpid(), signal.SIGTERM)
            yield item

    monkeypatch.setattr(loop, "_feed", interrupted)
    assert train("stopped") == 0
    assert train("stopped") == 0
    monkeypatch.setattr(loop, "_feed", feed)
    assert train("stopped") == 0
    assert validation("stopped") == validation("whole")
    assert sorted(validation("whole")) == [2, 4, 6, 8, 9]
    jax.tree.map(
        np.testing.assert_array_equal,
        *(jax.device_get(load_model(run, 9).params) for run in ("whole", "stopped")),
    )


@pytest.mark.slow
def test_a_checkpoint_that_was_taken_away_is_named(capsys):
    assert train("run", "--schedule", "Constant", budget="6 steps") == 0
    shutil.move("run/checkpoints/4", "elsewhere")
    assert train("run", "--schedule", "Constant", budget="8 steps") == 2
    assert "lacks the checkpoint of step 4" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("kind", "value"),
    [(MovingAverage, 1.0), (MovingAverage, 0.0), (AverageAfter, 0)]
    + [(LastCheckpoints, 1)],
)
def test_what_is_no_average_is_refused(kind, value):
    with pytest.raises(UserError, match="average\\."):
        kind(value)
