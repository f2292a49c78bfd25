"""Vectors of any tokens are written, read back and scored by the words they spell."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.data import read_vectors
from lm_jax.experiment import InitialVectors, load
from lm_jax.experiment.overrides import override
from lm_jax.runs.model import load_model
from lm_jax.training.setup import set_up
from tests.tiny import write_tiny

SUBWORDS = ["--data.tokenizer", "Subwords", "--data.tokenizer.size", "300"]
WORDS = ["--data.tokenizer", "Words"]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LM_JAX_DATA", raising=False)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [SUBWORDS, WORDS], ids=["Subwords", "Words"])
def test_the_embedding_of_a_run_begins_another(tokens):
    args = [*tokens, "--budget", "1 steps", "--evaluations.sample.length", "0"]
    args += ["--schedule.warmup", "0 steps"]
    assert main(["train", "tiny.py", *args, "--run", "run"]) == 0
    assert main(["vectors", "run", "--out", "v.txt"]) == 0
    words, vectors = read_vectors(Path("v.txt"))
    assert not {"<unk>", "<eos>", "<|end|>"} & set(words)
    assert ("\n▁the " in Path("v.txt").read_text()) == (tokens is SUBWORDS)
    loaded = load_model(Path("run"))
    trained = np.asarray(jax.device_get(loaded.params["embedding"]))
    experiment = override(load("tiny.py").experiment, args, "train")
    setup = set_up(replace(experiment, initial=InitialVectors("v.txt")))
    first = jax.device_get(setup.first_state().params["embedding"])
    same = (first == trained).all(axis=1)
    symbols = setup.data.tokenizer.symbols(range(setup.data.vocab_size))
    assert [s for s, kept in zip(symbols, same, strict=True) if kept] == words
    np.testing.assert_array_equal(first[same], vectors)


def test_a_token_after_a_space_is_the_word(tmp_path, monkeypatch, capsys):
    Path("v.txt").write_text("the 1 0\n▁the 0 1\n▁cat 0 1\n▁dog 1 0\n")
    judged = tmp_path / "wordvectors" / "EN-WS-353-ALL.txt"
    judged.parent.mkdir()
    judged.write_text("the\tcat\t9\nthe\tdog\t1\n")
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    assert main(["vectors", "v.txt"]) == 0
    said = capsys.readouterr().out
    assert "wordsim353, covered   1.0000" in said
    assert "wordsim353, spearman  1.0000" in said
