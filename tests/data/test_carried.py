"""Lanes: each goes on where it ended, and an evaluation sees every token once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.data import CarriedStream, rows
from lm_jax.data.carried import carried_rows, carried_windows, segments_of
from lm_jax.errors import UserError
from lm_jax.text import Corpus


@settings(max_examples=15)
@given(
    tokens=st.integers(60, 300),
    context=st.integers(3, 9),
    lanes=st.integers(1, 5),
    jitter=st.integers(0, 1),
)
def test_lanes_are_read_on_and_every_epoch_begins_anew(tokens, context, lanes, jitter):
    ids = np.arange(tokens, dtype=np.uint16)
    order = carried_rows(ids, context, lanes, jitter, seed=0)
    segments = segments_of(tokens, context, lanes)
    for epoch in range(2):
        read = [[] for _ in range(lanes)]
        for segment in range(segments):
            batch = rows(order, epoch * segments + segment, lanes)
            assert (batch["starts"] == (segment == 0)).all()
            for lane in range(lanes):
                kept = batch.get("mask", np.ones_like(batch["inputs"]))[lane] > 0
                inputs, targets = batch["inputs"][lane], batch["targets"][lane]
                assert (targets[kept] == inputs[kept] + 1).all()
                read[lane].extend(inputs[kept])
        for lane, seen in enumerate(read):
            first = lane * (tokens // lanes)
            assert seen == list(range(first, first + segments * context))


def test_jitter_moves_the_borders_anew_each_epoch():
    order = carried_rows(np.arange(500, dtype=np.uint16), 20, 2, 4, seed=0)
    segments = segments_of(500, 20, 2)
    lengths = [
        [rows(order, e * segments + s, 2)["mask"].sum(1)[0] for s in range(segments)]
        for e in range(2)
    ]
    assert lengths[0] != lengths[1]
    assert max(map(max, lengths)) <= 28
    assert rows(order, 0, 2)["weight"].tolist() == [20.0, 20.0]


@pytest.mark.parametrize("jitter", [0, 2])
def test_training_that_carries_nothing_reads_the_same_rows(tmp_path, jitter):
    (tmp_path / "text.txt").write_text("to be or not to be, that is it. " * 200)
    data = CarriedStream(Corpus(str(tmp_path / "text.txt")), context=16, jitter=jitter)
    carried = data.prepare(tmp_path)
    anew = replace(data, carried=False).prepare(tmp_path)
    for step in range(4):
        a, b = (rows(made.train(0, 3), step, 3) for made in (carried, anew))
        assert b.pop("starts").tolist() == [1, 1, 1]
        assert a.pop("starts").tolist() == [step == 0] * 3
        assert all((a[name] == b[name]).all() for name in a)
    for made in (carried, anew):
        windows = made.windows("validation", 10)
        starts = [windows[k]["starts"].any() for k in range(len(windows))]
        assert starts == [True] + [False] * (len(windows) - 1)
        assert len(windows) > 1


@settings(max_examples=25)
@given(tokens=st.integers(2, 200), context=st.integers(1, 9), lanes=st.integers(1, 4))
def test_an_evaluation_has_every_token_but_the_first_once(tokens, context, lanes):
    ids = np.arange(tokens, dtype=np.uint16)
    windows = carried_windows(ids, context, lanes, batch=4)
    wanted, goes_on = [], {}
    for index in range(len(windows)):
        batch = windows[index]
        assert batch["inputs"].shape == (4, context)
        for lane in range(4):
            kept = batch["mask"][lane] > 0
            if not kept.any():
                continue
            inputs = batch["inputs"][lane][kept]
            if batch["starts"][lane] == 0:
                assert inputs[0] == goes_on[lane]
            goes_on[lane] = inputs[-1] + 1
            wanted.extend(batch["targets"][lane][kept])
    assert sorted(wanted) == list(range(1, tokens))


def test_a_lane_shorter_than_a_segment_is_refused():
    with pytest.raises(UserError, match="Use a smaller batch or context"):
        segments_of(100, 20, 5)
