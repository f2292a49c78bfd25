"""The parts of a step add up to it, and their products are the model's own."""

import json
from types import SimpleNamespace

import pytest

from lm_jax.bench.jax_side import Training
from lm_jax.bench.parts import Part, Span, Step, measure, parts
from lm_jax.bench.sizes import LSTMSize, Size
from lm_jax.commands import bench_parts
from lm_jax.errors import UserError
from lm_jax.scaling.hlo import parse

TEXT = """
HloModule jit_train_step

%body (p: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %p = (s32[], f32[4,8]) parameter(0)
  %dot.3 = f32[4,8]{1,0} dot(%x, %w), lhs_contracting_dims={1}, \
metadata={op_name="jit(train_step)/transpose(jvp(M.features))/block_11/up/dot_general"}
}

ENTRY %main (x: f32[4,2], w: f32[2,8]) -> f32[4,8] {
  %x = f32[4,2]{1,0} parameter(0)
  %w = f32[2,8]{1,0} parameter(1)
  %dot.1 = f32[4,8]{1,0} dot(%x, %w), lhs_contracting_dims={1}, \
metadata={op_name="jit(train_step)/jvp(M.features)/block_3/up/dot_general"}
  %while.2 = (s32[], f32[4,8]) while(%t), condition=%c, body=%body, \
metadata={op_name="jit(train_step)/transpose(jvp(M.features))/blocks/while"}
  %add.4 = f32[4,8]{1,0} add(%a, %b), metadata={op_name="jit(train_step)/add"}
  %exp.5 = f32[4,8]{1,0} exponential(%a), \
metadata={op_name="jit(train_step)/jvp(jvp(M.logits))/exp"}
  %sum.6 = f32[] add(%a, %b), metadata={op_name="jit(train_step)/jvp(jvp())/add"}
  %copy.7 = f32[4,8]{1,0} copy(%exp.5)
  ROOT %copy.8 = f32[4,8]{1,0} copy(%a)
}
"""


def test_what_runs_at_once_shares_the_time_and_a_loop_is_what_it_calls():
    program = parse(TEXT)
    program.computations["body"].update(
        {name: program.computations["main"][name] for name in ("x", "w")}
    )
    spans = [
        Span("dot.1", 0, 10),
        Span("add.4", 5, 15),  # half of it beside the product
        Span("while.2", 20, 100),
        Span("dot.3", 30, 50),
        Span("dot.3", 60, 80),
        Span("exp.5", 100, 104),
        Span("sum.6", 104, 106),
        Span("copy.7", 106, 107),  # of what it reads
        Span("copy.8", 107, 109),
        Span("of no program", 109, 500),
    ]
    found = parts(program, spans, 2)
    nanoseconds = {name: 2e9 * part.seconds for name, part in found.items()}
    assert nanoseconds == pytest.approx(
        {
            "block/up": 7.5,
            "update": 7.5,
            "blocks, backward": 40,  # the loop's own
            "block/up, backward": 40,
            "logits": 5,
            "loss": 2,
            "unnamed": 2,
        }
    )
    once = 2 * 4 * 8 * 2
    assert found["block/up"].flops == once / 2  # in two steps
    assert found["block/up, backward"].flops == once
    assert found["block/up"].multiplying == found["block/up"].seconds
    assert found["update"].multiplying == found["update"].flops == 0


@pytest.mark.parametrize(
    "size",
    [Size(2, 2, 16, 8, 4, 11), pytest.param(LSTMSize(1, 0, 16, 8, 4, 11), id="lstm")],
)
def test_parts_add_up_to_the_step_and_products_are_the_models_own(size):
    step = measure(Training(size), "float32", 3)
    assert sum(part.seconds for part in step.parts.values()) == pytest.approx(
        step.traced
    )
    assert step.parts["nothing"].seconds > 0 and step.seconds > 0
    assert {"update", "logits", "loss"} <= step.parts.keys()
    flops = sum(part.flops for part in step.parts.values())
    assert flops == pytest.approx(size.flops, rel=0.1)


def test_the_table_fits_a_terminal_and_leaves_out_what_is_small():
    found = {
        "block/a_part_with_a_name_longer_than_a_column_is_wide": Part(0.06, 0.05, 8e9),
        "small": Part(0.0001),
        "update": Part(0.04),
    }
    lines = bench_parts.table("124M float32", Step(0.1, 0.1001, 3287.5, found), 2e11)
    assert all(len(line) <= 80 for line in lines)
    assert "100.0 ms a step, 100.1 traced" in lines[0] and "200 GFLOP/s" in lines[1]
    assert lines[3].split()[-4:] == ["60.00", "60%", "50.00", "40.00"]
    assert lines[4].split() == ["update", "40.00", "40%"]
    assert lines[5].split()[-4:] == ["100.10", "100%", "50.00", "40.00"]


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    small = Size(1, 2, 8, 4, 2, 11)
    monkeypatch.setattr(bench_parts, "SIZES", {"0.8M": small})
    monkeypatch.setattr(bench_parts, "matrix_rate", lambda *_: 1e9)
    file = tmp_path / "parts.json"
    asked = ["--sizes", "0.8M", "--modes", "bfloat16", "--steps", "2"]
    bench_parts.main([*asked, "--json", str(file)])
    assert "0.8M bfloat16" in capsys.readouterr().out
    step = json.loads(file.read_text())["steps"]["0.8M"]["bfloat16"]
    assert step["parts"]["update"]["seconds"] > 0


@pytest.mark.parametrize(
    "args",
    [["--steps", "0"], ["--json", "missing/parts.json"], ["--modes", "float16"]],
)
def test_bad_options_are_refused_before_anything_starts(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_parts, "Training", SimpleNamespace)
    with pytest.raises(UserError, match=args[0]):
        bench_parts.main(args)
