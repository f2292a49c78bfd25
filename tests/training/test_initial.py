"""Word vectors as the first embedding."""

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.data.vectors import write_vectors
from lm_jax.experiment import InitialVectors, load
from lm_jax.training.setup import set_up
from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 16)).astype(np.float32)
    write_vectors(tmp_path / "v.txt", ["t", "h", "elsewhere"], vectors)
    return vectors


def first_embeddings(**changes):
    from dataclasses import replace

    experiment = load("tiny.py").experiment
    both = experiment, replace(experiment, **changes)
    setups = [set_up(one) for one in both]
    tables = [jax.device_get(s.first_state().params["embedding"]) for s in setups]
    return setups[0].data.tokenizer, *tables


def test_known_tokens_begin_as_their_vectors_and_no_other_changes(in_folder):
    tokenizer, plain, given = first_embeddings(initial=InitialVectors("v.txt"))
    t, h = tokenizer.encode("th")
    np.testing.assert_array_equal(given[[t, h]], in_folder[:2])
    others = np.setdiff1d(np.arange(len(plain)), [t, h])
    np.testing.assert_array_equal(given[others], plain[others])


@pytest.mark.slow
def test_frozen_vectors_stay(in_folder):
    from lm_jax.fitted import load_fitted

    args = ["--initial", "InitialVectors", "--initial.path", "v.txt", "--run", "run"]
    frozen = ["--optimizer.rates", "^embedding$", "0.0", ".*", "1.0"]
    assert main(["train", "tiny.py", *args, *frozen]) == 0
    from pathlib import Path

    Path("v.txt").unlink()  # A trained model needs it no more.

    _, fitted = load_fitted(Path("run"), 12)
    ids = fitted.data.tokenizer.encode("th")
    table = jax.device_get(fitted.params["embedding"])
    np.testing.assert_array_equal(table[ids], in_folder[:2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--initial.path", "none.txt"], "no vectors at none.txt"),
        (["--model.width", "8"], "vectors of 16 numbers"),
        (["--initial.parameter", "table"], "has no 'table'"),
    ],
)
def test_what_does_not_fit_is_refused(change, said, capsys):
    args = ["--initial", "InitialVectors", "--initial.path", "v.txt"]
    assert main(["train", "tiny.py", *args, *change, "--run", "run"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
