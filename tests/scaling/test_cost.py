"""Counting in the text of compiled programs, short ones whose counts are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.chips import CHIPS
from lm_jax.scaling.collectives import NETWORK, Route, share
from lm_jax.scaling.cost import count
from lm_jax.scaling.products import meetings
from tests.properties import quick

CHIP = CHIPS["v5e"]
PRODUCT = 2 * 8 * 16 * 32

# A loop over a product and a slice of many weights, as a TPU's compiler writes it: how
# often it runs stands in its condition.
LOOP = """HloModule jit_f, is_scheduled=true, num_partitions=4

%fused (p0: f32[8,16], p1: f32[5,16,32], p2: s32[]) -> f32[8,32] {
  %p0 = f32[8,16]{1,0:T(8,128)S(1)} parameter(0)
  %p1 = f32[5,16,32]{2,1,0:T(8,128)} parameter(1)
  %p2 = s32[]{:T(128)S(6)} parameter(2)
  %zero = s32[] constant(0)
  %one = f32[1,16,32]{2,1,0} dynamic-slice(%p1, %p2, %zero, %zero)
  %w = f32[16,32]{1,0} bitcast(%one)
  ROOT %dot.1 = f32[8,32]{1,0:T(8,128)S(1)} dot(%p0, %w), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, operand_precision={highest,highest}
}

%condition (c: (s32[], f32[8,16], f32[5,16,32])) -> pred[] {
  %c = (s32[]{:T(128)}, f32[8,16]{1,0}, /*index=2*/f32[5,16,32]{2,1,0}) parameter(0)
  %limit = s32[] constant(5)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%body (b: (s32[], f32[8,16], f32[5,16,32])) -> (s32[], f32[8,16], f32[5,16,32]) {
  %b = (s32[]{:T(128)}, f32[8,16]{1,0}, f32[5,16,32]{2,1,0}) parameter(0)
  %j = s32[] get-tuple-element(%b), index=0
  %x = f32[8,16]{1,0:S(1)} get-tuple-element(%b), index=1
  %w = f32[5,16,32]{2,1,0} get-tuple-element(%b), index=2
  %y = f32[8,32]{1,0:T(8,128)S(1)} fusion(%x, %w, %j), kind=kOutput, \
frontend_attributes={kernel="
 of two lines "}, calls=%fused, metadata={op_name="jit(f)/dot"}
  %step = s32[] constant(STEP)
  %next = s32[] add(%j, %step)
  ROOT %t = (s32[], f32[8,16], f32[5,16,32]) tuple(%next, %x, %w)
}

ENTRY %main (a: f32[8,16], w: f32[5,16,32]) -> f32[8,16] {
  %a = f32[8,16]{1,0} parameter(0)
  %w = f32[5,16,32]{2,1,0} parameter(1)
  %begin = s32[] constant(0)
  %all = (s32[], f32[8,16], f32[5,16,32]) tuple(%begin, %a, %w)
  %while.1 = (s32[], f32[8,16], f32[5,16,32]) while(%all), condition=%condition, \
body=%body
  ROOT %out = f32[8,16]{1,0} get-tuple-element(%while.1), index=1
}
"""


def entry(*lines, before="", devices=4):
    """A program of the lines of its entry."""
    body = "\n".join(f"  {line}" for line in lines)
    return (
        f"HloModule m, num_partitions={devices}\n\n{before}\n"
        f"ENTRY %main (x: f32[4]) -> f32[4] {{\n{body}\n}}\n"
    )


@pytest.mark.parametrize(("step", "runs"), [(1, 5), (2, 3)])
def test_a_loop_counts_as_often_as_it_runs(step, runs):
    cost = count(LOOP.replace("STEP", str(step)), CHIP)
    assert cost.flops == runs * PRODUCT
    # Of all weights, a slice each time; what lies near costs nothing. The loop's own
    # number is read twice, and added to.
    assert cost.bytes == runs * (16 * 32 * 4 + 4 + 12)
    assert cost.passes == 6 * cost.flops
    slower = max(6 * PRODUCT / CHIP.flops, (16 * 32 * 4 + 4) / CHIP.bandwidth)
    assert math.isclose(cost.seconds, runs * (slower + 12 / CHIP.bandwidth))
    assert not cost.uncounted


def test_a_number_that_is_copied_on_the_way_counts_a_loop():
    text = LOOP.replace("STEP", "1").replace(
        "  %next = s32[] add(%j, %step)\n",
        "  %sum = s32[] add(%j, %step)\n  %next = s32[] copy(%sum)\n",
    )
    assert count(text).flops == 5 * PRODUCT


def test_the_compilers_own_count_of_a_loop_is_taken():
    known = 'body=%body, backend_config={"known_trip_count":{"n":"7"}}\n'
    text = LOOP.replace("STEP", "1").replace("body=%body\n", known)
    assert count(text).flops == 7 * PRODUCT


def test_a_loop_of_unknown_length_is_counted_once_and_said():
    cost = count(LOOP.replace("direction=LT", "direction=GT").replace("STEP", "1"))
    assert cost.flops == PRODUCT
    assert list(cost.uncounted) == ["a loop of unknown length, counted once"]


def test_of_branches_the_costliest_is_counted():
    def branch(name, size):
        return (
            f"%{name} (p: f32[4,4]) -> f32[4,{size}] {{\n"
            "  %p = f32[4,4]{1,0} parameter(0)\n"
            f"  %w = f32[4,{size}]{{1,0}} constant({{...}})\n"
            f"  ROOT %d = f32[4,{size}]{{1,0}} dot(%p, %w), lhs_contracting_dims={{1}},"
            " rhs_contracting_dims={0}\n}\n\n"
        )

    text = entry(
        "%x = f32[4,4]{1,0} parameter(0)",
        "%which = s32[] constant(0)",
        "ROOT %c = f32[4,4]{1,0} conditional(%which, %x, %x), "
        "branch_computations={%few, %many}",
        before=branch("few", 2) + branch("many", 3),
    )
    assert count(text).flops == 2 * 4 * 4 * 3


def test_a_product_of_many_matrices_written_as_a_window_meets_no_zeros():
    """12 products of (64, 32) and (32, 64): the window of 3 x 4 meets one at a time."""
    text = entry(
        "%q = f32[3,4,64,32]{3,2,1,0} parameter(0)",
        "%k = f32[3,4,64,32]{3,2,1,0} parameter(1)",
        "ROOT %s = f32[3,4,64,64]{2,3,1,0} convolution(%q, %k), window={size=3x4 "
        "stride=2x3 lhs_dilate=3x4}, dim_labels=01bf_01oi->01bf",
    )
    assert count(text).flops == 3 * 4 * 2 * 64 * 64 * 32


@quick
@given(
    held=st.integers(1, 6),
    size=st.integers(1, 5),
    stride=st.integers(1, 3),
    between=st.integers(1, 3),
    apart=st.integers(1, 3),
    pad=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_a_window_meets_numbers_as_often_as_when_it_is_laid(
    held, size, stride, between, apart, pad
):
    row = np.zeros((held - 1) * between + 1)
    row[::between] = 1
    row = np.pad(row, pad)
    reach = (size - 1) * apart + 1
    places = range(0, len(row) - reach + 1, stride)
    laid = sum(row[at : at + reach : apart].sum() for at in places)
    window = {
        "size": str(size),
        "stride": str(stride),
        "lhs_dilate": str(between),
        "rhs_dilate": str(apart),
        "pad": f"{pad[0]}_{pad[1]}",
    }
    assert meetings(held, len(places), window, 0) == laid


@pytest.mark.parametrize(
    ("groups", "group"),
    [
        ("mesh['data'=2,'fsdp'=4] {'fsdp'}", (0, 1, 2, 3)),
        ("mesh['data'=2,'fsdp'=4] {'data'}", (0, 4)),
        ("mesh['data'=2,'fsdp'=4] {'data','fsdp'}", tuple(range(8))),
        ("mesh['data'=2,'fsdp'=4] {'fsdp':(2)2}", (0, 1)),
        ("mesh['data'=2,'fsdp'=4] {'fsdp':(1)2}", (0, 2)),
        ("{{0,1},{2,3},{4,5},{6,7}}", (0, 1)),
        ("[2,4]<=[8]", (0, 1, 2, 3)),
        ("[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("{}", tuple(range(8))),
    ],
)
def test_who_takes_part_in_a_collective(groups, group):
    def collective(kind, line):
        text = entry("%x = f32[4]{0} parameter(0)", line, devices=8)
        found = count(text)
        assert dict(found.collectives) == {Route(kind, group): 1}
        return found.sizes[Route(kind, group)]

    rest = f"channel_id=1, replica_groups={groups}, use_global_device_ids=true"
    ways = len(group)
    gathered = f"ROOT %g = f32[{4 * ways}]{{0}} all-gather(%x), {rest}"
    assert collective("all-gather", gathered) == 16 * ways
    assert (
        collective("all-reduce", f"ROOT %r = f32[4]{{0}} all-reduce(%x), {rest}") == 16
    )


def test_a_sum_that_rounds_its_operands_sends_what_it_gives():
    text = entry(
        "%x = f32[64]{0} parameter(0)",
        "ROOT %r = bf16[64]{0} all-reduce(%x), channel_id=1, replica_groups={{0,1}}",
    )
    assert count(text).sizes == {Route("all-reduce", (0, 1)): 128}


def test_each_device_sends_all_but_what_is_its_own():
    assert share("all-gather", 4) == share("reduce-scatter", 4) == 3 / 4
    assert share("all-reduce", 4) == 2 * 3 / 4
    assert share("collective-permute", 4) == 1


def test_who_sends_on_what_comes_from_a_neighbour():
    pairs = "{{0,2},{2,4},{4,6},{6,0},{1,3},{3,5},{5,7},{7,1}}"
    text = entry(
        "%x = f32[4]{0} parameter(0)",
        "ROOT %p = f32[4]{0} collective-permute(%x), channel_id=1, "
        f"source_target_pairs={pairs}",
    )
    route = Route("collective-permute", (0, 2, 4, 6))
    assert count(text).sizes == {route: 16}


def test_what_leaves_a_slice_is_told_from_what_stays():
    text = entry(
        "%x = bf16[64]{0} parameter(0)",
        "%t = token[] after-all()",
        "%s = (bf16[64]{0}, u32[], token[]) send(%x, %t), channel_id=2, "
        "is_host_transfer=true, frontend_attributes={"
        '_xla_host_transfer_rendezvous="all-reduce.1_0",'
        '_xla_megascale_transfer_type="ALL_REDUCE"}',
        "%r = (bf16[64]{0}, u32[], token[]) recv(%t), channel_id=1, "
        "is_host_transfer=true, frontend_attributes={"
        '_xla_host_transfer_rendezvous="all-reduce.1_0",'
        '_xla_megascale_transfer_type="ALL_REDUCE"}',
        "ROOT %d = (bf16[64]{0}, token[]) recv-done(%r), channel_id=1",
    )
    cost = count(text)
    assert cost.sizes == {Route("all-reduce", NETWORK): 128}
    assert cost.bytes == 0


FOUR = (0, 1, 2, 3)


def test_what_runs_while_others_compute_is_counted_at_its_start():
    text = entry(
        "%x = f32[4]{0} parameter(0)",
        "%s = (f32[4]{0}, f32[16]{0}) all-gather-start(%x), channel_id=3, "
        "replica_groups={{0,1,2,3}}",
        "ROOT %g = f32[16]{0} all-gather-done(%s)",
    )
    assert count(text).sizes == {Route("all-gather", FOUR): 64}
    assert count(text).meanwhile == 0  # it is waited for at once
    beside = "%d = f32[] dot(%x, %x), lhs_contracting_dims={0}\n  ROOT %g"
    assert count(text.replace("ROOT %g", beside)).meanwhile == 1
    fused = (
        "%in_{0} (p: f32[4]) -> f32[16] {{\n  %p.{0} = f32[4]{{0}} parameter(0)\n"
        "  ROOT %g.{0} = f32[16]{{0}} all-gather(%p.{0}), channel_id=3, "
        "replica_groups={{{{0,1,2,3}}}}\n}}\n"
    )
    text = entry(
        "%x = f32[4]{0} parameter(0)",
        "%f.1 = f32[16]{0} fusion(%x), kind=kCustom, calls=%in_a",
        "ROOT %f.2 = f32[16]{0} fusion(%x), kind=kCustom, calls=%in_b",
        before=fused.format("a") + fused.format("b"),
    )
    cost = count(text, CHIP)
    route = Route("all-gather", FOUR)
    assert cost.collectives == {route: 1} and cost.sizes == {route: 64}
    assert cost.seconds == 0  # it is the links that are busy
    assert cost.meanwhile == 1


def test_a_sum_of_which_each_keeps_a_slice_is_a_reduce_scatter():
    fused = (
        "%scatter (p: f32[16]) -> f32[4] {\n  %p = f32[16]{0} parameter(0)\n"
        "  %r = f32[16]{0} all-reduce(%p), replica_groups={{0,1,2,3}}, to_apply=%add\n"
        "  %i = u32[] partition-id()\n"
        "  ROOT %s = f32[4]{0} dynamic-slice(%r, %i), dynamic_slice_sizes={4}\n}\n"
    )
    text = entry(
        "%x = f32[16]{0} parameter(0)",
        "ROOT %f = f32[4]{0} fusion(%x), kind=kCustom, calls=%scatter",
        before=fused,
    )
    assert count(text).sizes == {Route("reduce-scatter", FOUR): 64}


KERNEL = entry(
    "%q = bf16[2,4,128,64]{3,2,1,0} parameter(0)",
    "%m = s8[1,1,1]{2,1,0} parameter(1)",
    "ROOT %splash_mha_fwd.3 = bf16[2,4,128,64]{3,2,1,0} custom-call(%m, %q, %q, %q), "
    'custom_call_target="tpu_custom_call"',
)


def test_a_kernel_is_counted_by_what_is_known_of_it_or_named():
    assert count(KERNEL).uncounted == {"splash_mha_fwd": 1}
    seen = []

    def kernel(name, operands):
        seen.append((name, [array.dims for array in operands]))
        return 1e15

    cost = count(KERNEL, CHIP, kernel)
    assert cost.flops == 1e15 and cost.seconds == 1e15 / CHIP.flops
    assert cost.seconds - cost.kernels == pytest.approx(cost.bytes / CHIP.bandwidth)
    assert not cost.uncounted and count(KERNEL, CHIP).kernels == 0
    assert seen == [("splash_mha_fwd", [(1, 1, 1), *[(2, 4, 128, 64)] * 3])]
    assert cost.bytes == 4 * 2 * 4 * 128 * 64 * 2 + 1


def test_an_array_that_is_changed_in_place_moves_what_is_changed():
    fused = (
        "%update (p: f32[100,8], q: f32[1,8], i: s32[]) -> f32[100,8] {\n"
        "  %p = f32[100,8]{1,0} parameter(0)\n  %q = f32[1,8]{1,0} parameter(1)\n"
        "  %i = s32[] parameter(2)\n  %n = f32[1,8]{1,0} negate(%q)\n"
        "  ROOT %u = f32[100,8]{1,0} dynamic-update-slice(%p, %n, %i, %i)\n}\n"
    )
    lines = (
        "%x = f32[100,8]{1,0} parameter(0)",
        "%y = f32[1,8]{1,0} parameter(1)",
        "%i = s32[] constant(3)",
    )
    call = "ROOT %f = f32[100,8]{1,0} fusion(%x, %y, %i), kind=kLoop, calls=%update"
    plain = "ROOT %u = f32[100,8]{1,0} dynamic-update-slice(%x, %y, %i, %i)"
    assert count(entry(*lines, call, before=fused)).bytes == 2 * 32 + 4
    assert count(entry(*lines, plain)).bytes == 2 * 32


def test_of_an_array_that_a_fusion_in_a_fusion_slices_the_slice_is_read():
    """As in a loop over layers, of what each has left for the backward pass."""
    fused = (
        "%inner (q: s32[], p: f32[100,8]) -> f32[1,8] {\n"
        "  %q = s32[] parameter(0)\n  %p = f32[100,8]{1,0} parameter(1)\n"
        "  %s = f32[1,8]{1,0} dynamic-slice(%p, %q, %q)\n"
        "  ROOT %n = f32[1,8]{1,0} negate(%s)\n}\n"
        "%outer (x: f32[100,8], i: s32[]) -> f32[1,8] {\n"
        "  %x = f32[100,8]{1,0} parameter(0)\n  %i = s32[] parameter(1)\n"
        "  %b = f32[100,8]{1,0} bitcast(%x)\n"
        "  %f = f32[1,8]{1,0} fusion(%i, %b), kind=kLoop, calls=%inner\n"
        "  ROOT %m = f32[1,8]{1,0} negate(%f)\n}\n"
    )
    text = entry(
        "%x = f32[100,8]{1,0} parameter(0)",
        "%i = s32[] constant(3)",
        "ROOT %f = f32[1,8]{1,0} fusion(%x, %i), kind=kOutput, calls=%outer",
        before=fused,
    )
    assert count(text).bytes == 2 * 32 + 4


def test_a_copy_that_runs_beside_takes_no_time_of_its_own():
    text = entry(
        "%x = f32[64]{0} parameter(0)",
        "%c = (f32[64]{0:S(1)}, f32[64]{0}, u32[]{:S(2)}) copy-start(%x)",
        "ROOT %d = f32[64]{0:S(1)} copy-done(%c)",
    )
    cost = count(text, CHIP)
    assert cost.bytes == 256 and cost.seconds == 0
    assert cost.host == 0


def test_what_lies_in_the_memory_of_the_host_is_counted_apart():
    text = entry(
        "%x = f32[64]{0} parameter(0)",
        "%h = f32[10,64]{1,0:S(5)} parameter(1)",
        "%i = s32[] constant(3)",
        "%c = (f32[64]{0:T(128)S(5)}, f32[64]{0}, u32[]{:S(2)}) copy-start(%x)",
        "%d = f32[64]{0:T(128)S(5)} copy-done(%c)",
        "%b = ((f32[10,64]{1,0:S(5)}, s32[], s32[]), f32[1,64]{1,0}, u32[]{:S(2)}) "
        "dynamic-slice-start(%h, %i, %i), dynamic_slice_sizes={1,64}",
        "%s = f32[1,64]{1,0} dynamic-slice-done(%b)",
        "ROOT %u = f32[10,64]{1,0:S(5)} dynamic-update-slice(%h, %s, %i, %i)",
    )
    cost = count(text, CHIP)
    # Of the device's: the copy's source; the slice, written and read again.
    assert (cost.host, cost.bytes) == (3 * 256, 3 * 256)


def test_bytes_of_every_type():
    sizes = {
        "pred": 1,
        "s4": 0.5,
        "s8": 1,
        "bf16": 2,
        "f8e4m3fn": 1,
        "f32": 4,
        "c64": 8,
    }
    for kind, size in sizes.items():
        text = entry(
            f"%x = {kind}[10]{{0}} parameter(0)", f"ROOT %c = {kind}[10]{{0}} copy(%x)"
        )
        assert count(text).bytes == 2 * 10 * size
