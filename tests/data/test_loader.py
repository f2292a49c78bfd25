"""`batch(step)` is a pure function, however many processes and restarts."""

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from lm_jax.data import (
    CarriedStream,
    Mixture,
    PackedDocuments,
    TokenStream,
    batches,
    rows,
)
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters
from tests.properties import slow_but

BATCH = 8


KINDS = ["stream", "packed", "mixture", "carried"]


@pytest.fixture(scope="module", params=slow_but(KINDS, "stream", "packed", "carried"))
def prepared(request, tmp_path_factory):
    poems = TokenStream(Corpus("tangshi300"), Characters(True), 64)
    names = TokenStream(Corpus("names"), Characters(True), 64)
    data = {
        "stream": poems,
        "packed": PackedDocuments(poems.corpus, poems.tokenizer, 64),
        "mixture": Mixture((poems, names), (0.3, 0.7)),
        "carried": CarriedStream(poems.corpus, poems.tokenizer, 64, jitter=5),
    }
    return data[request.param].prepare(tmp_path_factory.mktemp("cache"))


def equal(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def epochs(prepared, count):
    """The step in which so many epochs are over, or just before."""
    return count * prepared.examples(BATCH) // BATCH


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_batch_is_the_same_on_any_number_of_processes(prepared, processes):
    data, share = prepared.train(1, BATCH), BATCH // processes
    for step in (0, 3, epochs(prepared, 1)):
        whole = rows(data, step, BATCH)
        slices = [
            next(batches(prepared.train(1, BATCH), BATCH, step, step + 1, r, r + share))
            for r in range(0, BATCH, share)
        ]
        put = {name: np.concatenate([s[name] for s in slices]) for name in whole}
        assert equal(put, whole)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_resuming_changes_nothing(prepared, threads):
    last = epochs(prepared, 2) + 3
    whole = list(batches(prepared.train(0, BATCH), BATCH, 0, last))
    assert len(whole) == last
    ends = (epochs(prepared, 1), epochs(prepared, 1) + 1, epochs(prepared, 2))
    for first in (5, *ends, last - 1):
        resumed = batches(prepared.train(0, BATCH), BATCH, first, last, threads=threads)
        resumed = list(resumed)
        assert len(resumed) == last - first
        assert all(map(equal, resumed, whole[first:]))


def test_seeds_and_steps_differ(prepared):
    first = rows(prepared.train(0, BATCH), 0, BATCH)
    assert not equal(first, rows(prepared.train(1, BATCH), 0, BATCH))
    assert not equal(first, rows(prepared.train(0, BATCH), 1, BATCH))
    # Room for a segment that both its borders have lengthened.
    longest = 74 if "starts" in first else 64
    assert first["inputs"].shape == (BATCH, longest)
    assert first["inputs"].dtype == np.int32


def test_row_r_of_step_s(prepared):
    data = prepared.train(0, BATCH)
    part = rows(data, 5, BATCH, 2, 4)
    for r in (0, 1):
        found = {name: array[r] for name, array in part.items()}
        assert equal(found, data[5 * BATCH + 2 + r])


def test_no_batches_after_the_last(prepared):
    assert list(batches(prepared.train(0, BATCH), BATCH, 7, 7)) == []


def test_an_error_in_a_thread_is_raised(prepared):
    data = prepared.train(0, BATCH).map(lambda row: 1 // 0 if row else row)
    with pytest.raises(ZeroDivisionError):
        list(batches(data, BATCH, 0, 3))


def test_batches_are_made_ahead_in_threads(prepared):
    made = threading.Event()
    found = []

    def note(row):
        found.append(threading.current_thread() is threading.main_thread())
        if len(found) > 3 * BATCH:
            made.set()
        return row

    stream = batches(prepared.train(0, BATCH).map(note), BATCH, 0, 50, ahead=4)
    next(stream)
    assert made.wait(10)
    assert found.count(True) == 1  # The one row that grain is woken by.


def test_other_processes_give_the_same_batches(tmp_path):
    code = (
        "import hashlib, pathlib, sys; from lm_jax.data import *;"
        "from lm_jax.text import Corpus; from lm_jax.tokenizers import *;"
        "p = TokenStream(Corpus('tangshi300'), Characters(True), 64);"
        "d = p.prepare(pathlib.Path(sys.argv[1])).train(3, 4);"
        "h = hashlib.sha256(b''.join(rows(d, s, 8)['inputs'] for s in range(99)));"
        "print(h.hexdigest())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "there")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run(command, capture_output=True, check=True, env=environment)
    stream = TokenStream(Corpus("tangshi300"), Characters(True), 64)
    data = stream.prepare(tmp_path / "here").train(3, 4)
    here = b"".join(rows(data, step, 8)["inputs"] for step in range(99))
    assert there.stdout.decode().strip() == hashlib.sha256(here).hexdigest()
