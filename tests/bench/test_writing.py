"""`bench generate` is fair, and says what it measured."""

import json

import numpy as np
import pytest

from lm_jax.bench.compare import Side
from lm_jax.bench.writing import Speed, agreement, compare, programs, ratios, rows
from lm_jax.commands import bench_generate

PROMPTS = [[1, 2, 3], [4, 5, 6]]
TINY = ["--layers", "1", "--width", "64", "--vocab", "51", "--prompt", "12"]
TINY += ["--tokens", "6", "--turns", "1"]


class Told(Side):
    """A side that takes 3 s for a first token and 2 s for each other."""

    version = "1"

    def __init__(self, library, modes, asked=None, token=7):
        self.library, self.modes, self.token = library, modes, token
        self.asked = [] if asked is None else asked
        self.widths = set()

    def ask(self, do, **what):
        if do == "make":
            return {"parameters": 9_999}
        if do == "open":
            return {}
        self.asked.append((self.library, what["mode"], what["first"]))
        count, prompts = 1 if what["first"] else what["tokens"], what["prompts"]
        self.widths.add(len(prompts[0]) // 8)
        return {
            "seconds": 3.0 + 2.0 * (count - 1),
            "tokens": [[self.token] * count for _ in prompts],
            "programs": len(self.widths),
        }

    def close(self):
        pass


def test_the_libraries_take_turns_and_the_first_token_is_told_apart():
    asked = []
    sides = [
        Told("lm_jax", ["float32", "bfloat16", "int8"], asked),
        Told("PyTorch", ["float32", "bfloat16"], asked),
    ]
    speeds = compare(sides, PROMPTS, 5, 2, lambda what: None)
    turn = [
        (library, mode)
        for mode in ("float32", "bfloat16")
        for library in ("lm_jax", "PyTorch")
    ]
    turn.append(("lm_jax", "int8"))
    assert [each[:2] for each in asked[::2]] == turn * 3
    assert [each[2] for each in asked] == [False, True] * 15
    for speed in speeds:
        assert (len(speed.whole), len(speed.prefill)) == (2, 2)
        assert (speed.first, speed.step, speed.rate) == (3.0, 2.0, 1.0)
        assert speed.total == 2 * 5 / 11
    assert [each["mode"] for each in ratios(speeds)] == ["float32", "bfloat16"]


def test_the_table_fits_a_terminal_and_the_bandwidth_is_that_of_the_weights():
    slow = Speed("PyTorch", "bfloat16", 8, [12.3, 11.1, 14.2], [32.3] * 3, [[1] * 11])
    fast = Speed("lm_jax", "bfloat16", 8, [0.1], [1.1], [[1] * 11])
    head, *lines = rows([slow, fast], 1000, 40e3)
    assert all(len(line) <= 80 for line in (head, *lines))
    assert "12300 (11100-14200)" in lines[0]
    # A token takes 0.1 s, and 2,000 bytes at 40,000 a second take half of that.
    assert lines[1].split()[-2:] == ["80.0", "50%"]
    (ratio,) = ratios([slow, fast])
    assert ratio["prefill"] == pytest.approx(123)
    assert ratio["decoding"] == pytest.approx(20)


def test_tokens_are_compared_one_by_one():
    ours = Speed("lm_jax", "float32", 2, tokens=[[1, 2], [3, 4]])
    other = Speed("PyTorch", "float32", 2, tokens=[[1, 2], [3, 5]])
    assert agreement([ours, other], "float32") == 0.75
    assert agreement([ours], "float32") is None


def test_programs_of_new_lengths_are_counted():
    side = Told("lm_jax", ["bfloat16"])
    assert programs(side, [9, 10, 17, 18, 31], lambda length: [0] * length) == 3


@pytest.mark.parametrize("token", [7, 8])
def test_other_tokens_end_the_command_with_1(token, tmp_path, monkeypatch, capsys):
    def side(library, name):
        return Told(
            library, ["float32", "bfloat16"], None, 7 if "jax" in name else token
        )

    monkeypatch.setattr(bench_generate, "Side", side)
    monkeypatch.setattr(bench_generate, "read_rate", lambda: 1e9)
    found = lambda name: True  # noqa: E731
    monkeypatch.setattr(bench_generate.importlib.util, "find_spec", found)
    assert bench_generate.main(TINY) == (token != 7)
    said = capsys.readouterr().out
    assert ("don't trust" in said) == (token != 7)


@pytest.mark.slow
def test_both_libraries_write_the_same_tokens(tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    file = tmp_path / "figures.json"
    args = [*TINY, "--batches", "1", "3", "--write", str(file)]
    assert bench_generate.main(args) == 0
    said = capsys.readouterr().out
    assert all(len(line) <= 80 for line in said.splitlines())
    figures = json.loads(file.read_text())
    assert [each["float32"] for each in figures["agreement"]] == [1.0, 1.0]
    assert {(s["library"], s["mode"], s["batch"]) for s in figures["speeds"]} == {
        (library, mode, batch)
        for library, mode in (
            ("lm_jax", "float32"),
            ("lm_jax", "bfloat16"),
            ("lm_jax", "int8"),
            ("PyTorch", "float32"),
            ("PyTorch", "bfloat16"),
        )
        for batch in (1, 3)
    }
    assert all(np.array(s["prefill"]).min() > 0 for s in figures["speeds"])
    assert 1 <= figures["programs"] <= 3 == figures["lengths"]
