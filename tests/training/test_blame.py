"""A step that goes wrong is kept so that it is made again; or it is skipped."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.__main__ import main
from lm_jax.data.order import Order
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW, transformation
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.runs.result import read_result
from lm_jax.training import blame
from lm_jax.training.blame import Spikes
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step
from tests.first import first_params
from tests.training.test_step import MODEL, batch, in_place

SKIPPING = ("--skip-bad-steps", "2")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    from tests.tiny import write_tiny

    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def planted(monkeypatch):
    """Put a token that no vocabulary has into the batches of some steps."""
    given = Order.batch

    def plant(*steps):
        def batch(self, step, *share):
            rows = given(self, step, *share)
            if step + 1 in steps:
                rows["inputs"][0, 0] = 1 << 20
            return rows

        monkeypatch.setattr(Order, "batch", batch)

    return plant


def train(run, *args):
    return main(["train", "tiny.py", "--run", run, *args])


def output(capsys):
    said = capsys.readouterr()
    return " ".join((said.out + said.err).split())


@pytest.mark.slow
def test_a_bundle_makes_the_step_again(planted, folder, monkeypatch, capsys):
    """Of a batch that the data doesn't give any more."""
    planted(6)
    assert train("bad") == 1
    assert " replay bad/diverged_at_step_6" in output(capsys)
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    where = Path("bad/diverged_at_step_6")
    report = json.loads((where / "statistics.json").read_text())
    assert report["row"]["loss"] == "nan"
    assert report["layers"]["embedding"]["gradient"]["not_finite"] > 0
    assert "no text" in (where / "batch.txt").read_text()
    assert main(["replay", "bad/diverged_at_step_6"]) == 0
    said = output(capsys)
    assert " loss nan " in said and "checkpoint 5" in said
    assert "For step 6 the data gives another batch" in said
    # What was not so is not called equal.
    report["row"]["loss"] = 2.5
    (where / "statistics.json").write_text(json.dumps(report))
    assert main(["replay", "bad/diverged_at_step_6"]) == 1


@pytest.mark.slow
def test_bad_steps_are_skipped_and_counted_and_too_many_stop(planted, capsys):
    planted(3, 6, 7)
    assert train("skipped", *SKIPPING) == 0
    assert "were skipped" not in output(capsys).split("Steps that")[0]
    result = read_result(Path("skipped"))
    assert result["skipped_steps"] == 3 and result["steps"] == 12
    rows = read_metrics(Path("skipped/metrics.jsonl"))
    counted = {row["step"]: row["skipped"] for row in rows if "skipped" in row}
    assert counted == {3: 1, 6: 2, 7: 3}
    params = load_model(Path("skipped"), 12).params
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert main(["verify", "skipped"]) == 0
    assert train("skipped", "--budget", "12 steps") == 2
    assert "skipped 3 steps" in output(capsys)
    planted(6, 7, 8)
    assert train("stopped", *SKIPPING) == 1
    assert "step 8 is not finite, after 2 in a row" in output(capsys)
    assert main(["train", "tiny.py", "--run", "stopped", "--skip-bad-steps", "3"]) == 0
    assert read_result(Path("stopped"))["skipped_steps"] == 3


@pytest.mark.slow
def test_a_spike_is_saved_and_training_goes_on_as_without(monkeypatch, capsys):
    monkeypatch.setattr(Spikes, "fewest", 3)
    monkeypatch.setattr(Spikes, "most", 1)
    assert train("plain") == 0
    capsys.readouterr()
    assert train("spiky", "--spikes", "1.01") == 0
    said = output(capsys)
    (kept,) = Path("spiky").glob("spike_at_step_*")
    assert f" replay {kept}" in said and "more than 1.01 times" in said
    step = int(kept.name.rpartition("_")[2])
    assert (kept / "batch.txt").read_text().count("--- row") == 8
    shutil.rmtree("spiky/checkpoints")
    assert main(["replay", str(kept)]) == 0
    said = output(capsys)
    assert f"from checkpoint {step - 1}" in said
    curves = [
        [row.get("loss") for row in read_metrics(Path(run, "metrics.jsonl"))]
        for run in ("plain", "spiky")
    ]
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_a_spike_that_was_saved_by_half_is_saved_again(monkeypatch):
    monkeypatch.setattr(Spikes, "fewest", 3)
    monkeypatch.setattr(Spikes, "most", 1)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(blame, "_save", killed)
        assert train("half", "--spikes", "1.01") != 0
    assert [*Path("half").glob(".spike_at_step_*.part")]
    assert not [*Path("half").glob("spike_at_step_*")]
    shutil.rmtree("half/checkpoints")  # the same step is made again
    assert train("half", "--spikes", "1.01") == 0
    (kept,) = Path("half").glob("spike_at_step_*")
    assert (kept / "statistics.json").exists() and (kept / "checkpoints").is_dir()
    assert not [*Path("half").glob(".spike_at_step_*.part")]


def test_a_spike_is_what_is_far_above_the_median_of_the_last():
    def row(loss=1.0, norm=0.5):
        return {"loss": loss, "grad_norm": norm}

    quiet, spikes = Spikes(None), Spikes(3.0)
    assert not any(quiet.told(row(loss)) for loss in (1, 1e9))
    assert not spikes.told(row(100.0))  # nothing to compare it with
    assert not any(spikes.told(row()) for _ in range(40))
    assert not spikes.told(row(2.9, 1.4))
    said = spikes.told(row(3.1))
    assert "loss 3.1 is more than 3 times 1, the median of the 42 steps" in said
    assert "grad norm" in spikes.told(row(norm=1.6))
    assert spikes.told(row(norm=1.6)) and not spikes.told(row(norm=1.6))


@pytest.mark.slow
@pytest.mark.parametrize("form", [lambda step: step, in_place], ids=["plain", "cpu"])
def test_a_skipped_step_changes_the_count_and_the_rate_alone(form):
    params = first_params(MODEL, 0, jnp.zeros((1, 2), jnp.int32))
    rule = transformation(AdamW(), lambda step: 0.1 / (1 + step), params)
    step = make_train_step(
        MODEL, NextToken(), rule, lambda s: 0.1 / (1 + s), seed=1, skip=2
    )
    step, good = jax.jit(form(step)), batch()
    bad = good | {"mask": jnp.full(good["inputs"].shape, jnp.nan)}
    good = good | {"mask": jnp.ones(good["inputs"].shape)}
    state, _ = step(first_state(params, rule, skips=True), good)
    after, metrics = step(state, bad)
    assert metrics["finite"] and int(metrics["skipped"]) == 1 and int(after.step) == 2
    same = jax.tree.map(lambda a, b: bool((a == b).all()), state.params, after.params)
    assert all(jax.tree.leaves(same))
    moments = [optax.tree_utils.tree_get(s.opt_state, "mu") for s in (state, after)]
    jax.tree.map(np.testing.assert_array_equal, *moments)
    # Adam has made one update, and the schedule two steps.
    assert sorted(_counts(after.opt_state)) == [1, 2]
    again, metrics = step(after, good)
    assert int(again.skipped) == 0 and sorted(_counts(again.opt_state)) == [2, 3]
    for row in (1, 2):
        again, metrics = step(again, bad)
        assert metrics["finite"] and int(metrics["skipped"]) == row
    stopped, metrics = step(again, bad)
    assert not metrics["finite"] and int(stopped.step) == int(again.step)
    assert not step(stopped, good)[1]["finite"]  # it stays stopped


def _counts(opt_state):
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "count")
    return [int(count) for _, count in found]
