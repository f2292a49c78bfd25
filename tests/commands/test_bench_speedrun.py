"""`bench speedrun`: losses beside the target, seconds beside nanoGPT's."""

import json
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.bench.compare import Side, Timing
from lm_jax.commands import bench_speedrun
from tests.tiny import EXPERIMENT, write_tiny

STUDY = "\nfrom lm_jax.ablation import Study\nstudy = Study(seeds=2, target=9.0)\n"


class Theirs(Side):
    """PyTorch's side, of whose steps each takes half a second."""

    def __init__(self):
        self.closed = False

    def ask(self, do, mode, steps):
        return {"seconds": 0.5 * steps, "loss": 1.0}

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_runs_and_steps_by_turns(monkeypatch, capsys):
    Path("fast.py").write_text(EXPERIMENT + STUDY)
    side = Theirs()
    timing = Timing("0.8M", "PyTorch", "float32", 50)
    monkeypatch.setattr(bench_speedrun, "_nanogpt", lambda: (side, timing))
    asked = ["bench", "speedrun", "fast.py", "--out", "runs/fast"]
    assert main([*asked, "--write", "fast.json"]) == 0
    said, found = capsys.readouterr().out, json.loads(Path("fast.json").read_text())
    assert side.closed and found["nanogpt_steps"] == [0.5, 0.5]
    assert found["nanogpt"] == 1000.0 and len(found["runs"]) == 2
    assert found["runs"][0]["loss"] != found["runs"][1]["loss"]
    assert 0 < found["p"] < 0.05 and "better than 9: p" in said
    assert max(map(len, said.splitlines())) <= 80
    assert main(asked) == 2
    assert "another hour" in capsys.readouterr().err


def test_a_file_without_a_target_is_refused(capsys):
    Path("none.py").write_text(EXPERIMENT)
    assert main(["bench", "speedrun", "none.py"]) == 2
    assert "says no target" in capsys.readouterr().err
