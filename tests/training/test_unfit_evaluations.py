"""An evaluation that can't be made is refused before anything is written."""

from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.runs.result import read_result
from tests.tiny import write_tiny

COUNTED = '''"""Counts.

Run:     ./launch.sh train counted.py
Expect:  nothing
Source:  none
"""

from lm_jax.counting import NGram
from lm_jax.data import TokenStream
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = CountExperiment(
    TokenStream(Corpus("text.txt"), Characters()), NGram(2)
)
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    (tmp_path / "counted.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LM_JAX_DATA", raising=False)


@pytest.mark.parametrize("file", ["tiny.py", "counted.py"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("Accuracy", "this objective gives loss, perplexity, bits_per_byte, tokens"),
        ("NeuralCache", "A cache "),
        ("WordSimilarity", "set LM_JAX_DATA"),
        ("ClassScores", "train by Classify(), or count by NaiveBayes()"),
        ("Correlation", "train by Regress()"),
    ],
)
def test_it_is_refused_before_the_run_begins(kind, words, file, capsys):
    assert main(["train", file, "--run", "run", "--evaluations.more", kind]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()


@pytest.mark.slow
def test_one_that_fits_is_not():
    args = ["--evaluations.more", "NeuralCache", "--budget", "4 steps"]
    assert main(["train", "tiny.py:recurrent", "--run", "run", *args]) == 0
    assert [e["evaluation"] for e in read_result(Path("run"))["scores"]][-1] == "more"
