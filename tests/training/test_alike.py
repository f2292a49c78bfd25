"""What differs between two experiments, and what keeps their scores apart."""

import dataclasses

import pytest

from lm_jax.__main__ import main
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.training.alike import amounts, obstacles, parameters, rates, resolved
from tests.tiny import write_tiny


@pytest.fixture
def setup(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)

    def made(*args):
        return resolved(override(load("tiny.py").experiment, list(args), "diff"))

    return made


def test_parameters_amounts_and_rates_that_differ_are_all_that_is_said(setup):
    base, wide = setup(), setup("--model.positions", "Rotary", "--budget", "24 steps")
    assert parameters(base, base) == [] == rates(base, base)
    assert parameters(base, wide) == [("positions/embedding", "16 x 16", None)]
    found = {name: (a, b) for name, a, b in amounts(base, wide)}
    assert found["steps"] == (12, 24) and found["tokens a step"] == (128, 128)
    assert found["parameters"][0] - found["parameters"][1] == 16 * 16
    told = rates(base, wide)
    assert [pair.name for pair in told] == ["step 6", "step 12", "step 18", "step 24"]
    assert told[-1].a is None and told[0].a < told[0].b


def test_what_keeps_scores_from_being_compared_is_named(setup):
    base = setup()
    assert list(obstacles(base, setup("--model.layers", "2"))) == []
    assert list(obstacles(base, setup("--seed", "7", "--fsdp", "8"))) == []
    (said,) = obstacles(base, setup("--data.tokenizer", "Bytes"))
    assert "only bits per byte" in said
    (said,) = obstacles(base, setup("--data.context", "8", "--batch", "16"))
    assert said.startswith("seen before each token: disjoint windows of 16 tokens")
    (said,) = obstacles(base, setup("--budget", "24 steps"))
    assert "1,536 tokens, the other on 3,072" in said


def test_diff_of_files_says_what_comes_of_the_fields(setup, capsys):
    base = setup().experiment
    assert dataclasses.is_dataclass(base)
    assert main(["diff", "tiny.py", "tiny.py:recurrent"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    words = ("FLOPs a token", "block_0/attention/query/kernel", "can't be compared:")
    assert not [word for word in words if word not in said]
