"""Runs whose texts are drawn anew go on as if they had never ended."""

import json
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.runs.result import read_result
from tests.data.test_labelled import write_table
from tests.data.test_sentence_pairs import documents

EXPERIMENT = '''"""Texts that are drawn anew.

Run:     ./launch.sh train drawn.py
Expect:  nothing
Source:  none
"""

from dataclasses import replace

from lm_jax.data import BPEDropout, Delete, Labelled, Mask, SentencePairs, Swap
from lm_jax.evaluation import ClassScores, Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import BagOfVectors, Classifier, Encoder, Learned
from lm_jax.objectives import Classify, MaskedPairs
from lm_jax.optimizers import AdamW
from lm_jax.schedules import Constant
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords, Words

experiment = Experiment(
    data=Labelled(
        Corpus("table.jsonl", validation=0.2),
        Subwords(300),
        "kind",
        (8, 32),
        augment=(Mask(0.1), Delete(0.1), Swap(0.1), BPEDropout(0.1)),
    ),
    model=Classifier(BagOfVectors(8), dropout=0.2),
    objective=Classify(r_drop=1.0, label_smoothing=0.1),
    optimizer=AdamW(),
    schedule=Constant(1e-2),
    batch=16,
    budget="9 steps",
    evaluations={"likelihood": Likelihood("3 steps"), "classes": ClassScores()},
    outputs=(),
)
variants = {
    "pairs": replace(
        experiment,
        data=SentencePairs(Corpus("documents.jsonl", validation=0.3), Words(), 16),
        model=Encoder(
            layers=1, heads=2, width=8, positions=Learned(), segment_types=2
        ),
        objective=MaskedPairs(),
        evaluations={"likelihood": Likelihood("3 steps")},
    ),
}
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_table(tmp_path / "table.jsonl", 90)
    lines = [json.dumps({"text": text}) for text in documents()]
    (tmp_path / "documents.jsonl").write_text("\n".join(lines))
    (tmp_path / "drawn.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)


def losses(run):
    lines = map(json.loads, (Path(run) / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in lines if "loss" in row}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drawn.py", "drawn.py:pairs"])
def test_a_run_that_goes_on_is_one_that_never_ended(name, folder):
    assert main(["train", name, "--run", "whole"]) == 0
    assert main(["train", name, "--run", "parts", "--budget", "5 steps"]) == 0
    assert main(["train", name, "--run", "parts", "--budget", "9 steps"]) == 0
    whole, parts = losses("whole"), losses("parts")
    assert len(whole) > 1 and max(whole) == max(parts) == 9
    for step in whole.keys() & parts.keys():
        np.testing.assert_allclose(parts[step], whole[step], rtol=1e-6)
    (one, two) = (read_result(Path(run))["scores"] for run in ("whole", "parts"))
    assert one[-1]["scores"] == two[-1]["scores"]
    if name.endswith("pairs"):
        assert {"masked_accuracy", "pair_accuracy"} <= one[-1]["scores"].keys()
