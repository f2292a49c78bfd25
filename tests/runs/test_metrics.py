"""metrics.jsonl and samples.txt: exact numbers, and exact after any end."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.runs.metrics import (
    DECAYED,
    MetricsLog,
    append_sample,
    decay,
    read_metrics,
    read_samples,
    truncate_samples,
)

numbers = st.floats(width=32) | st.floats() | st.integers(-(2**60), 2**60)
names = st.text(min_size=1).filter(lambda name: name != "step")
# For each step a few lines: a training line, perhaps an evaluation line.
histories = st.lists(
    st.lists(st.dictionaries(names, numbers, max_size=3), min_size=1, max_size=2),
    min_size=1,
    max_size=6,
)
# What a model writes, now and then something that looks like a header.
texts = st.lists(
    st.text() | st.sampled_from(["--- step 1 ---", "--- step 999 ---", "-", "\r"]),
    max_size=4,
).map("\n".join)


def write_history(path: Path, history: list, after: int = 0) -> list[int]:
    """Write steps 1.. of a history, those after a step; sizes after each step."""
    log, sizes = MetricsLog(path), []
    for step, lines in enumerate(history, start=1):
        if step > after:
            for line in lines:
                log.write(step, line)
        sizes.append(path.stat().st_size)
    log.close()
    return sizes


def same(a: float, b: float) -> bool:
    return type(a) is type(b) and (a == b or (math.isnan(a) and math.isnan(b)))


@given(row=st.dictionaries(names, numbers))
def test_numbers_come_back_exactly(tmp_path_factory, row):
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    write_history(path, [[row]])
    (back,) = read_metrics(path)
    assert back.keys() == {"step", *row}
    assert all(same(back[name], row[name]) for name in row)


def test_arrays_of_one_number_are_numbers(tmp_path):
    row = {"loss": np.float32(0.1), "count": np.int64(3), "inf": np.array(-np.inf)}
    write_history(tmp_path / "m", [[row]])
    (back,) = read_metrics(tmp_path / "m")
    assert back == {
        "step": 1,
        "loss": float(np.float32(0.1)),
        "count": 3,
        "inf": -math.inf,
    }


def test_only_numbers_are_metrics(tmp_path):
    log = MetricsLog(tmp_path / "m")
    with pytest.raises(TypeError, match="a metric is a number"):
        log.write(1, {"loss": "low"})
    log.close()


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path / "m")
    log.write(1, {"loss": 0.5})
    assert read_metrics(tmp_path / "m") == [{"step": 1, "loss": 0.5}]
    log.close()


@given(history=histories, data=st.data())
def test_cut_anywhere_and_gone_on_is_uninterrupted(tmp_path_factory, history, data):
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    sizes = write_history(path, history)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    # A checkpoint is made when its step's lines are all written.
    safe = sum(size <= cut for size in sizes)
    step = data.draw(st.integers(0, safe))
    log = MetricsLog(path)
    log.truncate_after(step)
    log.close()
    assert [row for row in read_metrics(path) if row["step"] > step] == []
    write_history(path, history, after=step)
    assert path.read_bytes() == whole


def test_the_log_goes_on_after_truncating(tmp_path):
    log = MetricsLog(tmp_path / "m")
    for step in (1, 2, 3):
        log.write(step, {"loss": 1.0})
    log.truncate_after(1)
    log.write(2, {"loss": 2.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path / "m")] == [
        (1, 1.0),
        (2, 2.0),
    ]


def test_reading_leaves_out_a_partial_last_line_only(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1}]


@pytest.mark.parametrize("line", [b'{"step": 2, "lo', b"", b"[]", b'{"a": 1}', b"\xff"])
def test_another_corrupt_line_is_named_and_nothing_changed(tmp_path, line):
    path = tmp_path / "m"
    content = b'{"step": 1}\n' + line + b'\n{"step": 3}\n'
    path.write_bytes(content)
    with pytest.raises(UserError, match="line 2"):
        read_metrics(path)
    log = MetricsLog(path)
    with pytest.raises(UserError, match="line 2"):
        log.truncate_after(1)
    log.close()
    assert path.read_bytes() == content


def test_no_metrics_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing was trained"):
        read_metrics(tmp_path / "metrics.jsonl")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said():
    log = MetricsLog(Path("/dev/full"))
    with pytest.raises(UserError, match="disk is full"):
        log.write(1, {"loss": 1.0})
    with pytest.raises(UserError, match="disk is full"):
        log.close()


@given(samples=st.lists(texts, min_size=1, max_size=5), data=st.data())
def test_samples_cut_anywhere_and_gone_on(tmp_path_factory, samples, data):
    path = tmp_path_factory.mktemp("run") / "samples.txt"
    sizes = []
    for step, text in enumerate(samples, start=1):
        append_sample(path, step, text)
        sizes.append(path.stat().st_size)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    step = data.draw(st.integers(0, sum(size <= cut for size in sizes)))
    truncate_samples(path, step)
    for later, text in enumerate(samples[step:], start=step + 1):
        append_sample(path, later, text)
    assert path.read_bytes() == whole


def test_a_sample_that_looks_like_a_header_cuts_nothing(tmp_path):
    path = tmp_path / "samples.txt"
    append_sample(path, 1, "a\n--- step 7 ---\nb")
    whole = path.read_bytes()
    append_sample(path, 2, "c")
    truncate_samples(path, 1)
    assert path.read_bytes() == whole


def test_truncating_samples_that_are_not_there(tmp_path):
    truncate_samples(tmp_path / "samples.txt", 0)
    assert list(tmp_path.iterdir()) == []


def test_samples_are_read_back_with_their_steps(tmp_path):
    path = tmp_path / "samples.txt"
    assert read_samples(path) == []
    for none in ("", "one that was cut short"):
        path.write_text(none)
        assert read_samples(path) == []
    path.write_text("")
    texts = [(2, "one\n\ntwo"), (2, "春"), (40, "--- step 3 ---\nis no header")]
    for step, text in texts:
        append_sample(path, step, text)
    *first, (step, last) = read_samples(path)
    assert first == texts[:2] and step == 40 and last.strip() == texts[2][1]


@pytest.mark.parametrize("steps", [2, 3, 5, 9, 10, 89, 1000])
@pytest.mark.parametrize("warmup", [0, 4])
def test_a_line_that_falls_to_its_end_has_decayed_however_few_its_steps_are(
    steps, warmup
):
    def ended(final, made=steps):
        """With the rates of a straight line that may be cut short."""
        rates = [(k + 1) / (warmup + 1) for k in range(warmup)]
        rates += [1 - (1 - final) * k / steps for k in range(made)]
        rows = [{"step": k, "learning_rate": x} for k, x in enumerate(rates, 1)]
        return decay([*rows, {"step": len(rates), "validation_loss": 1.0}])

    assert ended(0.0) == pytest.approx(0.0, abs=1e-9)
    assert ended(0.1) == pytest.approx(0.1) and DECAYED > 0.1
    assert ended(1.0) == 1.0
    assert ended(0.0, made=steps // 2) >= 0.5
    assert decay([{"step": 1, "loss": 1.0}]) is None
