"""What waits in the host's memory, or in fewer bits, from step to step."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.experiment import Compute, Execution
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.sharding import Sharding
from lm_jax.training import compiled
from lm_jax.training.checks import check_host
from tests.tiny import write_tiny

AWAY = ("--optimizer-memory", "host", "--remat", "offload")
DEVICES = jax.devices()
HOST = Sharding(optimizer_memory="host")


def train(run, *args):
    layers = ("--model.layers", "2", "--scan", "True", "--fsdp", "2")
    half = ("--optimizer.mean_dtype", "bfloat16")
    rate = ("--schedule", "Constant", "--schedule.peak", "1e-2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: DEVICES[:2])
        return main(["train", "tiny.py", "--run", run, *layers, *half, *rate, *args])


def losses(run):
    rows = read_metrics(Path(run) / "metrics.jsonl")
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.slow
def test_a_run_whose_state_waits_elsewhere_is_the_same_and_goes_on(
    tmp_path, monkeypatch
):
    """Eight steps in one go, and four that a checkpoint goes on from."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert train("here", "--remat", "full", "--budget", "8 steps") == 0
    lain, step_of = [], compiled.make_train_step

    def seen(*args, **more):
        step = step_of(*args, **more)

        def train_step(state, batch):
            lain.append(jax.tree.map(jnp.result_type, state.opt_state))
            return step(state, batch)

        return train_step

    monkeypatch.setattr(compiled, "make_train_step", seen)
    assert train("away", *AWAY, "--budget", "4 steps") == 0
    assert train("away", *AWAY, "--budget", "8 steps") == 0
    assert {leaf.name for leaf in jax.tree.leaves(lain)} == {
        *("bfloat16", "float32", "int32"),
    }
    assert losses("away") == losses("here")
    jax.tree.map(
        np.testing.assert_array_equal,
        *(load_model(Path(run), 8).params for run in ("away", "here")),
    )


@pytest.mark.parametrize(
    ("execution", "words"),
    [
        (Execution(sharding=HOST), "optimizer_memory='host' keeps .* of metal devices"),
        (Execution(compute=Compute(remat="offload")), "compute.remat='offload' keeps"),
        (Execution(sharding=HOST, together=2), "together=2 computes several"),
    ],
)
def test_what_no_host_can_keep_is_refused(execution, words):
    known = ["device"] + ["pinned_host"] * (execution.together > 1)
    with pytest.raises(UserError, match=words):
        check_host(execution, "metal", known)
    check_host(Execution(), "metal", known)
