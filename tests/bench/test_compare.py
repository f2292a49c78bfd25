"""The comparison is fair, and says what it measured."""

import json
import math

import pytest

from lm_jax.bench import compare as compare_module
from lm_jax.bench.compare import Failed, Side, Timing, compare, ratio, rows
from lm_jax.commands import bench_train
from lm_jax.errors import UserError

RATES = {name: {"float32": 3e11, "bfloat16": 1e12} for name in ("lm_jax", "PyTorch")}


class Recorded(Side):
    """A side that only notes what it was asked for; one of its modes fails."""

    def __init__(self, library, modes, asked):
        self.library, self.modes, self.asked = library, modes, asked

    def ask(self, do, **arguments):
        self.asked.append((self.library, do, arguments.get("mode")))
        if arguments.get("mode") == "broken":
            raise Failed("TimeoutError: not done after 300 s")
        return {"seconds": 0.1 * arguments.get("steps", 1), "loss": 4.0}


def test_the_libraries_take_turns_and_a_failure_stops_only_its_mode():
    asked = []
    sides = [
        Recorded("lm_jax", ["a", "b"], asked),
        Recorded("PyTorch", ["a", "broken", "c"], asked),
    ]
    timings = compare(sides, "0.8M", 2, lambda what: None)
    turns = [(library, mode) for library, do, mode in asked if do == "run"]
    one_round = [("lm_jax", "a"), ("PyTorch", "a"), ("lm_jax", "b"), ("PyTorch", "c")]
    assert turns[-8:] == one_round * 2
    assert [(len(t.seconds), t.error is None) for t in timings] == [
        (2, True),
        (2, True),
        (2, True),
        (0, False),
        (2, True),
    ]
    # 0.1 s a step: ten steps fill a turn, and a step is what is reported.
    assert timings[0].steps == 10
    assert timings[0].median == pytest.approx(0.1)


def test_the_table_fits_a_terminal_and_has_the_figures():
    timings = [
        Timing("124M", "lm_jax", "float32", 1, [123.4, 100.1, 150.2]),
        Timing("0.8M", "PyTorch", "bfloat16 compiled", 100, [0.0234, 0.0226, 0.0239]),
        Timing("10.7M", "PyTorch", "float32 compiled", error="E" * 90 + "\nmore"),
    ]
    head, *lines = rows(timings, RATES)
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in (head, *lines))
    assert "23.4 (22.6-23.9)" in lines[1]
    assert f"{12 * 64 / 0.0234:,.0f}" in lines[1]


def test_the_ratio_is_of_the_best_modes():
    timings = [
        Timing("0.8M", "lm_jax", "float32", 1, [0.4]),
        Timing("0.8M", "lm_jax", "bfloat16", 1, [0.1, 0.2, 0.9]),
        Timing("0.8M", "PyTorch", "float32", 1, [0.5]),
        Timing("0.8M", "PyTorch", "bfloat16", 1, [0.3]),
        Timing("0.8M", "PyTorch", "float32 compiled", error="no compiler"),
        Timing("10.7M", "PyTorch", "float32", 1, [0.01]),
    ]
    assert ratio(timings, "0.8M") == pytest.approx(1.5)
    assert ratio(timings, "10.7M") is None
    older = Timing("0.8M", "before", "float32", 1, [0.6])
    assert ratio([*timings, older], "0.8M", "before") == pytest.approx(3.0)
    assert ratio(timings, "0.8M", "before") is None


def test_another_lm_jax_is_asked_and_memory_is_that_of_a_process_alone(tmp_path):
    """It stands in a folder of its own, as a checkout of another commit does."""
    there = tmp_path / "lm_jax" / "bench"
    there.mkdir(parents=True)
    for folder in (there, there.parent):
        (folder / "__init__.py").touch()
    (there / "worker.py").write_text(
        "import json, sys\n"
        "held = b'x' * 2**26\n"
        "for line in sys.stdin:\n"
        "    answer = {'version': 'older', 'modes': ['float32']}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    side = Side("before", "jax", tmp_path)
    try:
        assert (side.version, side.modes) == ("older", ["float32"])
        timing, failed = Timing("0.8M", "before", "float32"), Timing("0.8M", "x", "y")
        failed.error = "TimeoutError"
        compare_module.measure_memory([side], [timing, failed])
    finally:
        side.close()
    assert 2**26 < timing.memory < 2**28 and failed.memory is None
    head, *lines = compare_module.memory_rows([timing, failed])
    assert len(lines) == 1 and lines[0].endswith(f"{timing.memory / 2**30:.2f} GiB")


@pytest.mark.slow
def test_lm_jax_alone_where_there_is_no_pytorch(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", "")  # the compiler's best, as in a real run
    monkeypatch.setattr(bench_train.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bench_train.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    # As many steps on a busy machine as on an idle one.
    monkeypatch.setattr(compare_module, "TURN_SECONDS", 1e9)
    monkeypatch.setattr(compare_module, "MOST_STEPS", 8)
    file = tmp_path / "figures.json"
    bench_train.main(["--sizes", "0.8M", "--rounds", "2", "--json", str(file)])
    said = capsys.readouterr().out
    assert "LM_JAX_EXTRAS=bench" in said
    assert "busy (load 99.0)" in said
    assert all(len(line) <= 80 for line in said.splitlines())
    figures = json.loads(file.read_text())
    modes = {t["mode"]: t for t in figures["timings"]}
    assert set(modes) == {"float32", "bfloat16"}
    for timing in modes.values():
        assert len(timing["seconds"]) == 2 and min(timing["seconds"]) > 0
        # It really trains: below what random tokens cost.
        assert timing["loss"] < math.log(65)
    assert figures["ratios"] == {"0.8M": None}


@pytest.mark.parametrize(
    "args",
    [
        ["--rounds", "0"],
        ["--json", "missing/figures.json"],
        ["--against", "."],
        ["--memory", "True"],
    ],
)
def test_bad_options_are_refused_before_anything_starts(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_train, "Side", None)
    monkeypatch.setattr(bench_train.sys, "platform", "darwin")
    with pytest.raises(UserError, match=args[0]):
        bench_train.main(args)
