"""Examples of any length: few shapes, each example once an epoch, batch(step) pure."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lm_jax.data import Share, feed, sort_by_length
from lm_jax.data import order as order_module
from lm_jax.data.order import batch_size, bucket_order, bucket_windows
from lm_jax.errors import UserError

LENGTHS = (4, 8, 16)
SIZES = np.random.default_rng(0).integers(1, 20, 101)
assert SIZES[0] > LENGTHS[0]


def made(sizes=SIZES, lengths=LENGTHS):
    """Examples that say which they are in each token, cut to the longest length."""

    def row(example, length):
        assert sizes[example] <= length or length == lengths[-1]  # else it doesn't fit
        real = min(int(sizes[example]), length)
        ids = np.pad(np.full(real, example + 1, np.int32), (0, length - real))
        return {"inputs": ids, "mask": np.array(1.0, np.float32)}

    return sort_by_length(sizes, lengths, row)


def order(seed=0, batch="33 tokens", ways=1):
    return bucket_order(made(), seed, batch_size(batch), ways)


def equal(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def examples_of(batch):
    """The examples of a batch, without the rows of zeros."""
    real = batch["mask"] > 0
    assert not batch["inputs"][~real].any()
    return (batch["inputs"][real][:, 0] - 1).tolist()


@pytest.mark.parametrize("batch", ["33 tokens", "16 tokens", 5])
@pytest.mark.parametrize("ways", [1, 4])
def test_an_epoch_has_every_example_once_in_the_shortest_length_it_fits(batch, ways):
    data = order(batch=batch, ways=ways)
    steps = int(data.steps_per_epoch)
    for epoch in range(2):
        found = Counter()
        for step in range(epoch * steps, (epoch + 1) * steps):
            rows = data.batch(step)
            assert rows["inputs"].shape == data.shape(step)
            assert data.shape(step) in data.shapes
            assert data.shape(step).rows % ways == 0
            found.update(examples_of(rows))
            shorter = [n for n in LENGTHS if n < data.shape(step).length]
            for example in examples_of(rows):
                assert SIZES[example] > max(shorter, default=0)
        assert found == Counter(range(len(SIZES)))


def test_units_count_real_tokens():
    data = order()
    steps = int(data.steps_per_epoch)
    real = sum(int((data.batch(s)["inputs"] > 0).sum()) for s in range(steps))
    assert data.tokens == round(real / steps) < 33
    assert real == made().tokens == np.minimum(SIZES, 16).sum()


def test_a_batch_has_as_many_rows_as_its_tokens_allow():
    assert [tuple(shape) for shape in order().shapes] == [(8, 4), (4, 8), (2, 16)]
    assert [s.rows for s in order(batch=5).shapes] == [5, 5, 5]
    assert [s.rows for s in order(batch="33 tokens", ways=4).shapes] == [8, 4, 4]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_all_processes_make_the_same_batch(parts):
    data = order(ways=4)
    for step in (0, 3, 50):
        whole = data.batch(step)
        shares = [order(ways=4).batch(step, Share((k,), parts)) for k in range(parts)]
        assert equal({n: np.concatenate([s[n] for s in shares]) for n in whole}, whole)


def test_devices_change_no_example_and_no_place():
    one, four = order(ways=1), order(ways=4)
    for step in range(40):
        alone, together = one.batch(step), four.batch(step)
        rows = len(alone["mask"])
        assert equal({n: a[:rows] for n, a in together.items()}, alone)
        assert not together["mask"][rows:].any()


@pytest.mark.parametrize("first", [0, 7, 40])
def test_going_on_is_the_same_as_never_having_stopped(first):
    whole = list(feed(order(), 0, 44))
    resumed = list(feed(order(), first, 44))
    assert len(resumed) == 44 - first
    for a, b in zip(whole[first:], resumed, strict=True):
        assert equal(a.rows, b.rows) and a.digest == b.digest


def test_the_order_depends_on_the_seed_and_on_the_epoch():
    data, steps = order(), int(order().steps_per_epoch)
    first = [examples_of(data.batch(s)) for s in range(steps)]
    assert first == [examples_of(order().batch(s)) for s in range(steps)]
    assert first != [examples_of(order(seed=1).batch(s)) for s in range(steps)]
    assert first != [examples_of(data.batch(steps + s)) for s in range(steps)]
    lengths = [data.shape(s).length for s in range(steps)]
    assert lengths != sorted(lengths)


@pytest.mark.slow
def test_another_process_makes_the_same_batches():
    code = (
        "import json, hashlib; from tests.data.test_order import order; d = order(3);"
        "print(hashlib.sha256(b''.join(d.batch(s)['inputs'].tobytes()"
        " for s in range(60))).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    batches = (order(3).batch(s)["inputs"].tobytes() for s in range(60))
    here = hashlib.sha256(b"".join(batches)).hexdigest()
    assert json.loads(f'"{run.stdout.decode().strip()}"') == here


@pytest.mark.parametrize("batch", [1, 3, 200])
def test_an_evaluation_has_every_example_once(batch):
    windows = bucket_windows(made(), batch)
    found = Counter()
    for k in range(len(windows)):
        rows, length = windows[k]["inputs"].shape
        assert length in LENGTHS and rows == batch * (16 // length)
        found.update(examples_of(windows[k]))
    assert found == Counter(range(len(SIZES)))
    with pytest.raises(IndexError):
        windows[len(windows)]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ("15 tokens", "less than one example of 16 tokens"),
        ("3 epochs", "is no size"),
        ("many", "is no size"),
        (0, "1 row or more"),
    ],
)
def test_batches_that_hold_nothing_are_refused(batch, said):
    with pytest.raises(UserError, match=said):
        order(batch=batch)


def test_a_step_s_bucket_is_drawn_once_and_not_for_each_row(monkeypatch):
    drawn = Counter()

    class Counting:
        def __init__(self, order, purpose):
            self.order, self.purpose = order, purpose

        def __getitem__(self, index):
            drawn[self.purpose] += 1
            return self.order[index]

    shuffled = order_module._shuffled
    monkeypatch.setattr(
        order_module,
        "_shuffled",
        lambda count, seed, *purpose: Counting(
            shuffled(count, seed, *purpose), purpose[0]
        ),
    )
    data = order(batch=8)
    rows = sum(len(examples_of(data.batch(step))) for step in range(10))
    assert drawn == {"batches": 10, "examples": rows}
