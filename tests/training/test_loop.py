"""The loop's own promises: nothing waits, nothing recompiles, all is donated."""

import dataclasses
from pathlib import Path

import jax
import pytest

from lm_jax.data import Share
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.training import loop
from lm_jax.training.compiled import Compiled
from lm_jax.training.restart import stuck
from lm_jax.training.setup import set_up
from lm_jax.training.step import named_key
from tests.properties import slow_but
from tests.tiny import write_tiny


@pytest.fixture
def setup(tmp_path, monkeypatch, request):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    experiment = load(getattr(request, "param", "tiny.py")).experiment
    return set_up(override(experiment, ["--fsdp", "2"], "train"))


@pytest.mark.parametrize(
    "setup", slow_but(["tiny.py", "tiny.py:recurrent"], "tiny.py"), indirect=True
)
def test_steps_compile_once_and_donate_their_state(setup):
    compiled = Compiled(setup)
    state = setup.first_state()
    feed = loop._feed(setup, 0)
    for _ in range(3):
        _, batch, *_ = next(feed)
        old = state
        state, _ = compiled.step(old, batch, setup.constants())
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old.params))
    assert compiled.step._cache_size() == 1
    placed = jax.tree.map(lambda a: a.sharding, state)
    assert placed == setup.shardings


def test_another_seed_is_the_same_program(setup):
    """So a sweep compiles once, though dropout draws from the seed."""
    assert setup.model.dropout
    state, batch = setup.placed_shapes(), setup.placed_batch(setup.order.shapes[0])
    texts = {
        Compiled(each).step.lower(state, batch, each.constants()).as_text()
        for each in (setup, seeded(setup, 2**32 - 1))
    }
    assert len(texts) == 1


def seeded(setup, seed):
    experiment = dataclasses.replace(setup.experiment, seed=seed)
    return dataclasses.replace(setup, experiment=experiment)


def test_a_seed_in_an_array_is_the_same_seed():
    for seed in (0, 7, 2**31, 2**32 - 1):
        given = jax.numpy.uint32(seed)
        assert named_key(seed, "dropout") == named_key(given, "dropout")


@pytest.mark.slow
def test_metrics_are_read_one_step_late(setup, monkeypatch, capsys):
    """When step k is recorded, the loop has gone on to step k + 1."""
    from lm_jax.__main__ import main

    seen, dispatched = [], []
    feed = loop._feed

    def fed(setup, first):
        # The loop asks for the next batch when it is done with this step.
        for item in feed(setup, first):
            dispatched.append(item[0])
            yield item

    monkeypatch.setattr(loop, "_feed", fed)
    record = loop._record

    def noted(inside, state, item):
        seen.append((item.step, len(dispatched)))
        return record(inside, state, item)

    monkeypatch.setattr(loop, "_record", noted)
    assert main(["train", "tiny.py", "--run", "run", "--budget", "6 steps"]) == 0
    # Evaluations, at 4 and 6, read their own step: the device is idle anyway.
    assert seen == [(1, 2), (2, 3), (3, 4), (4, 4), (5, 6), (6, 6)]
    assert Path("run/result.json").exists()


def test_batches_of_all_processes_make_the_whole(setup, monkeypatch):
    whole = [batch for _, batch, *_ in loop._feed(setup, 0)]
    parts = []
    for index in range(2):
        share = Share((index,), 2)
        monkeypatch.setattr(loop, "share_of", lambda mesh, share=share: share)
        monkeypatch.setattr(loop, "to_mesh", lambda rows, mesh: rows)
        own = [batch for _, batch, *_ in loop._feed(setup, 0)]
        parts.append(own)
    monkeypatch.undo()
    for step, batch in enumerate(whole):
        for name, array in batch.items():
            first, second = parts[0][step][name], parts[1][step][name]
            assert len(first) == len(second) == len(array) // 2
            joined = jax.numpy.concatenate([first, second])
            assert (joined == array).all()


def test_an_average_begins_when_the_losses_stop_falling():
    """Merity et al. 2018: v > min of all but the last n, once there are more."""
    assert not stuck([5.0, 4.0, 4.5], 2)
    assert not stuck([5.0, 4.0, 4.5, 4.2], 2)
    assert stuck([5.0, 4.0, 4.5, 4.2, 4.1], 2)
    assert not stuck([5.0, 4.0, 4.5, 4.2, 3.9], 2)
