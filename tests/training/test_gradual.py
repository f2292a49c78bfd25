"""Parameters that are frozen for a time: as if not there, then as if begun anew."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.models import Rotary, Transformer
from lm_jax.models.stack import initialise
from lm_jax.objectives import NextToken
from lm_jax.optimizers import (
    SGD,
    Adadelta,
    Adafactor,
    AdamW,
    Lion,
    transformation,
)
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.metrics import read_metrics
from lm_jax.selectors import parted, path_name, select
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step
from tests.tiny import write_tiny

MODEL = Transformer(layers=1, heads=1, width=16, vocab_size=16, positions=Rotary())
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 16, (8, 7)), jnp.int32)
BATCH = {"inputs": TOKENS[:, :-1], "targets": TOKENS[:, 1:]}
RATE, BEGIN = 0.01, 3
ADAM = AdamW(weight_decay=0.1, clip=0.1)


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def steps(optimizer, count, begin=BEGIN, **options):
    """States and metrics of training whose first block waits for a step."""
    params = initialise(MODEL, jax.random.key(0), TOKENS)
    frozen = select((("block_0/", not begin), (".*", False)), params, "frozen")
    begins = select((("block_0/", begin), (".*", 0)), params, "frozen")
    trained, begins = parted(params, frozen)[1], parted(begins, frozen)[1]
    begins = begins if begin else None
    rule = transformation(optimizer, lambda step: RATE, trained, begins)
    step = jax.jit(
        make_train_step(
            MODEL,
            NextToken(),
            rule,
            lambda step: RATE,
            seed=1,
            frozen=frozen,
            begins=begins,
            **options,
        )
    )
    states, metrics = [first_state(params, rule, trained=trained)], []
    for _ in range(count):
        state, found = step(states[-1], BATCH)
        states.append(state)
        metrics.append({name: float(value) for name, value in found.items()})
    assert step._cache_size() == 1
    return states, metrics


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [ADAM, SGD(), Lion(), Adadelta(), Adafactor()])
def test_until_then_all_is_as_if_it_were_frozen(optimizer):
    """What waits and its state to the bit; the others, and the norm that clips."""
    waiting, metrics = steps(optimizer, BEGIN + 1)
    frozen, wanted = steps(optimizer, BEGIN, begin=0)
    for found, expected in zip(metrics, wanted, strict=False):
        assert found == pytest.approx(expected, rel=1e-6)
    first, last = by_path(waiting[0].params), by_path(waiting[BEGIN].params)
    for path, array in by_path(frozen[BEGIN].params).items():
        np.testing.assert_allclose(last[path], array, 1e-6, err_msg=path)
        assert (last[path] == first[path]).all() == path.startswith("block_0/")
    before, after = (by_path(waiting[k].opt_state) for k in (0, BEGIN))
    held = [path for path in before if f"from_{BEGIN}" in path]
    assert held and all((before[path] == after[path]).all() for path in held)
    moved = by_path(waiting[BEGIN + 1].params)
    kernels = [path for path in moved if path.startswith("block_0/")]
    assert all((moved[path] != first[path]).any() for path in kernels)


def test_adam_s_first_update_is_that_of_a_first_step():
    """Corrected by its own count: neither more nor less than the rate."""
    states, _ = steps(AdamW(weight_decay=0.0, clip=None), BEGIN + 1)
    before, after = (by_path(state.params) for state in states[-2:])
    for path in before:
        if path.startswith("block_0/") and path.endswith("kernel"):
            change = np.abs(after[path] - before[path])
            np.testing.assert_allclose(np.median(change), RATE, rtol=1e-2)
            assert change.max() < RATE * 1.01


def test_in_parts_it_is_the_same():
    whole, metrics = steps(SGD(), BEGIN + 2)
    parts, found = steps(SGD(), BEGIN + 2, accumulate=2)
    for name in ("loss", "grad_norm"):
        a, b = ([each[name] for each in of] for of in (metrics, found))
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)


def train(run, *args):
    until = ("--frozen", "block_0/", "6 steps", ".*", "False")
    return main(["train", "tiny.py", *until, "--run", run, "--keep", "5", *args])


@pytest.mark.slow
def test_a_run_that_was_stopped_before_begins_when_it_would_have(folder):
    assert train("whole", "--average", "None") == 0
    shutil.copytree("whole", "again")
    for step in (8, 12):
        shutil.rmtree(f"again/checkpoints/{step}")
    Path("again/result.json").unlink()
    assert train("again", "--average", "None") == 0
    whole, again = (
        by_path(Checkpoints(Path(run, "checkpoints")).restore_params(12))
        for run in ("whole", "again")
    )
    early = by_path(Checkpoints(Path("whole/checkpoints")).restore_params(4))
    late = by_path(Checkpoints(Path("whole/checkpoints")).restore_params(8))
    for path, array in whole.items():
        np.testing.assert_array_equal(again[path], array)
    up = "block_0/up/kernel"
    assert (late[up] != early[up]).any()
    losses = [
        [row.get("loss") for row in read_metrics(Path(run, "metrics.jsonl"))]
        for run in ("whole", "again")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--frozen", "block_0/", "6 stps", ".*", "False"], "'6 stps' is not a dur"),
        (["--frozen", "block_0/", "1 year", ".*", "False"], "frozen: '1 year'"),
        (["--frozen", "block_0/", "12 steps", ".*", "False"], "the budget is 12"),
        (["--frozen", "blok/", "6 steps", ".*", "False"], "'blok/' in frozen matches"),
        (
            ["--frozen", "up", "6 steps", ".*", "False", "--optimizer", "Muon"],
            "Muon can't begin",
        ),
        (
            [
                *("--frozen", "block_0/", "6 steps", ".*", "False"),
                *("--model.layers", "2", "--scan", "True"),
            ],
            "Leave scan out",
        ),
    ],
)
def test_times_that_can_not_be_kept_are_refused(folder, args, said, capsys):
    assert main(["train", "tiny.py", *args, "--run", "run"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()


@pytest.mark.slow
def test_what_waits_is_shown(folder, capsys):
    args = ["--frozen", "block_0/", "6 steps", ".*", "False"]
    assert main(["show", "tiny.py", *args]) == 0
    lines = [
        line for line in capsys.readouterr().out.splitlines() if "up/kernel" in line
    ]
    assert "from step 7" in lines[0]
