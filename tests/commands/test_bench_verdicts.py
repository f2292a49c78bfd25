"""The measure of verdicts finds what is planted in numbers, and counts by hand."""

import json
from pathlib import Path

import numpy as np

from lm_jax.commands import bench_verdicts


def test_false_verdicts_are_as_rare_as_the_level_says():
    alone = np.random.default_rng(0).normal(2.0, 0.01, 48)
    for pairs in (5, 8):
        found = bench_verdicts.rates(alone, pairs, 200)
        low, high = found["usual"]
        assert low < 10 < high < 25 and found["false"] <= high
    # Where pairs differ for certain, every sweep says so.
    assert bench_verdicts.power(alone, alone + 0.1, 8) == "worse"
    assert bench_verdicts.power(alone, alone - 0.1, 5) == "better"


def test_each_seed_is_trained_once(monkeypatch, tmp_path, capsys):
    trained = []

    def train(cell, display, warm):
        trained.append((cell.variant, cell.seed, cell.experiment.model.dropout))
        cell.run.mkdir(parents=True)
        loss = 2.0 + 0.01 * np.sin(cell.seed) + 0.2 * (cell.variant == "planted")
        entry = {"split": "validation", "step": 200, "scores": {"loss": loss}}
        entry |= {"evaluation": "likelihood", "corpus": "c", "policy": "p"}
        result = entry | {"scores": [entry], "steps": 200, "watch": "likelihood"}
        (cell.run / "result.json").write_text(json.dumps(result))

    monkeypatch.setattr(bench_verdicts, "run_cell", train)
    for _ in range(2):
        bench_verdicts.main(
            [*("--runs", "24", "--sweeps", "20", "--out", str(tmp_path / "runs"))]
            + ["--write", str(tmp_path / "found.json")]
        )
    assert len(trained) == 24 + 12 and ("planted", 11, 0.5) in trained
    found = json.loads(Path(tmp_path / "found.json").read_text())
    assert 0 <= found["referee"]["false"] <= 20 and found["referee"]["usual"][0] >= 0
    assert found["found"] == ["worse"] * 3 and len(found["losses"]) == 24
    assert "dropout 0.5" in capsys.readouterr().out
