"""Plans beside each other: what is best stands first, and each figure says its kind."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lm_jax.chips import CHIPS
from lm_jax.errors import UserError
from lm_jax.mesh import arranged
from lm_jax.scaling.collectives import NETWORK, Route
from lm_jax.scaling.cost import Cost
from lm_jax.scaling.links import Links
from lm_jax.scaling.plan import Plan
from lm_jax.scaling.side_by_side import Case, as_json, meshes, rows, table
from lm_jax.scaling.topology import Topology
from lm_jax.scaling.weak import Weak, draw_weak, weak_lines
from lm_jax.sharding import MESH, Sharding
from tests.fake_chip import Chip

V5E = CHIPS["v5e"]


def made(width=4, seconds=1.0, memory=2**30, gathered=0, chip=V5E, fsdp=None):
    """A plan of a square of v5e, which gathers along its whole mesh."""
    chips = width * width
    fsdp = fsdp or chips
    places = np.array(list(np.ndindex(width, width)))
    routes = {Route("all-gather", tuple(range(chips))): gathered} if gathered else {}
    cost = Cost(
        flops=1e14,
        passes=1e14,
        bytes=1e11,
        seconds=seconds,
        collectives=Counter(dict.fromkeys(routes, 1)),
        sizes=Counter(routes),
    )
    return Plan(
        topology=Topology(f"v5e:{width}x{width}", (None,) * chips, chip),
        links=Links({"data": chips // fsdp, "fsdp": fsdp, "tensor": 1}, chip, places),
        arguments=memory,
        temporaries=0,
        model_flops=0.5e14,
        gradients=2 * 10**9,
        tokens=1000 * chips,
        cost=cost,
    )


def case(remat, plan, why=""):
    return Case("v5e:4x4", "16 fsdp", remat, plan, why)


def test_of_a_gpu_s_memory_counts_what_jax_takes():
    """Three quarters, where nobody says otherwise: a run would be refused the rest."""
    assert V5E.usable == V5E.memory and CHIPS["h100"].usable == 60 * 10**9
    little, much = (made(memory=n * 10**9, chip=CHIPS["h100"]) for n in (59, 61))
    assert little.fits and not much.fits
    assert "of 55.9 GiB, too large" in dict(rows(much))["memory"]
    assert Weak.of([much]).breaks().startswith("memory")


def test_what_fits_stands_first_then_what_takes_fewer_seconds():
    cases = [
        case("none", None, "used 50G of 16G hbm"),
        case("products", made(seconds=0.5, memory=17 * 2**30)),
        case("full", made(seconds=1.0)),
        case("projections", made(seconds=0.7)),
    ]
    cases.sort(key=lambda each: each.rank)
    names = [each.remat for each in cases]
    assert names == ["projections", "full", "products", "none"]
    lines = table(cases)
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[2:]] == names
    assert "16!" in lines[4] and "too large" in lines[5]
    marks = lines[1]
    assert marks.index("compiled") < lines[0].index("step")
    assert marks.index("estimated") < lines[0].index("tokens/s")
    lacking = replace(made(), cost=replace(made().cost, uncounted=Counter({"k": 1})))
    assert "<25%" in table([case("full", lacking), *cases])[2]
    long = [
        replace(each, topology="2 x v5e:4x4", mesh=f"{i} data x 4 fsdp x 4 tensor")
        for i, each in enumerate(cases)
    ]
    lines = table(long)
    assert max(map(len, lines)) <= 78 and len(lines) == 2 + 2 * len(cases)
    assert lines[2] == "0 data x 4 fsdp x 4 tensor, projections"


def test_what_failed_stands_last_and_has_no_figures():
    failed = Case("v5e:4x4", "16 fsdp", "full", failed="an MFU of 110%")
    cases = sorted(
        [failed, case("none", None, "used 50G"), case("offload", made())],
        key=lambda each: each.rank,
    )
    assert [each.remat for each in cases] == ["offload", "none", "full"]
    assert table(cases)[-1].split() == ["full", "failed"]
    said = as_json(failed)
    assert said["failed"] == "an MFU of 110%" and said["fits"] is None


def test_each_figure_says_whether_it_was_compiled_or_estimated():
    plan = made(gathered=16 * 10**9)
    said = json.loads(json.dumps(as_json(case("full", plan))))
    assert said["fits"] and said["devices"] == 16
    assert said["compiled"]["collectives"] == [
        {
            "kind": "all-gather",
            "axis": "fsdp",
            "link": "ICI fsdp",
            "calls": 1,
            "bytes": 16e9,
        }
    ]
    # Neither axis of 4 x 4 is a ring: a chip at the corner has two of the four links.
    assert said["estimated"]["alone"]["ICI fsdp"] == 15e9 / 100e9
    assert said["estimated"]["sent"] == {"all-gather fsdp": 15e9}
    assert said["estimated"]["seconds"] == 1.15
    assert said["estimated"]["without_kernels_and_links"] == 1.0
    assert said["estimated"]["mfu"] == 0.5e14 / (1.15 * V5E.flops)
    assert said["estimated"]["tokens_per_second"] == 16000 / 1.15
    assert said["estimated"]["binds"] == "compute"
    listed = dict(rows(plan))
    assert listed["all-gather"].startswith("1 along fsdp, 14.9 GiB in all, 14 GiB sent")
    kernels = replace(plan, cost=replace(plan.cost, kernels=0.25))
    less = as_json(case("full", kernels))["estimated"]
    assert less["without_kernels_and_links"] == 0.75 and less["seconds"] == 1.15
    unknown = replace(plan, topology=replace(plan.topology, chip=None))
    assert as_json(case("full", unknown))["estimated"] is None


def test_meshes_as_they_are_typed():
    rules = (("kernel$", ("tensor", "fsdp")), (".*", ()))
    before = Sharding(data=2, fsdp=4, rules=rules)
    assert meshes([], before) == [before]
    one, other = meshes(["fsdp=8", "data=2,tensor=-1"], before)
    assert one == Sharding(fsdp=8, rules=rules)
    assert other == Sharding(data=2, tensor=-1, rules=rules)
    for typed, words in [
        ("fdsp=8", "'fdsp' is no axis. Did you mean 'fsdp'"),
        ("fsdp", "'fsdp' says not how many"),
        ("fsdp=x", "'fsdp=x' says not how many"),
    ]:
        with pytest.raises(UserError, match=words):
            meshes([typed], before)


def test_scaling_goes_on_by_formula():
    """Beyond 256 chips of v5e there are several slices, joined by the network."""
    found = Weak.of([made(16, gathered=4 * 10**9), made(4, gathered=4 * 10**9)])
    assert [point.chips for point in found.points] == [16, 256, 1024, 4096]
    assert [point.by for point in found.points] == ["compiled"] * 2 + ["formula"] * 2
    assert {point.computing for point in found.points} == {1.0}
    few, many, slices, most = found.points
    # 4 x 4 has ends; 16 x 16 has rings, and twice the links.
    assert few.inside == pytest.approx(4e9 * 15 / 16 / 100e9)
    assert many.inside == pytest.approx(4e9 * 255 / 256 / 200e9)
    assert slices.inside == most.inside == many.inside
    network = 2 * 3 / 4 * (2e9 // 256) / V5E.network
    assert slices.network == pytest.approx(network) and many.network == 0
    assert most.network == pytest.approx(network * (15 / 16) / (3 / 4))
    assert most.tokens == 4096 * 1000
    assert found.breaks().startswith("nothing up to 4,096 chips. What comes nearest")


def test_a_slice_that_can_grow_does_so_before_there_are_several():
    (few, further, _) = Weak.of([made(4, gathered=4 * 10**9)]).points
    assert further.inside == pytest.approx(few.inside / (15 / 16) * (255 / 256))


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("fsdp", [1, 4, 16])
def test_slices_sum_each_gradient_once_whatever_the_mesh_inside_them(width, fsdp):
    """Of 256 chips each hands over 1/256 of them, whole or parted as they may lie."""
    (*_, slices, most) = Weak.of([made(width, fsdp=fsdp)]).points
    assert slices.network == pytest.approx(2 * 3 / 4 * 2e9 / 256 / V5E.network)
    assert most.network == pytest.approx(2 * 15 / 16 * 2e9 / 256 / V5E.network)


def test_links_are_called_by_their_names_and_those_to_the_host_are_others():
    few = made(2, gathered=10**9, chip=CHIPS["h100"])
    away = replace(few, cost=replace(few.cost, host=64e9))
    for plan, more in ((few, []), (away, ["PCIe"])):
        found = Weak.of([plan])
        assert weak_lines(found)[0].split()[4:-2] == ["NVLink", "DCN", *more]
        assert found.points[0].inside == pytest.approx(0.75 * 1e9 / 450e9)
        assert found.points[0].fetching == len(more)
        assert found.utilization(found.points[0]) == pytest.approx(plan.utilization)
    assert "What comes nearest is PCIe, 100%" in Weak.of([away]).breaks()
    more = replace(few, cost=replace(few.cost, host=65e9))
    assert Weak.of([more]).breaks().startswith("PCIe: on 4 chips it takes 1.02 s")


def test_what_breaks_first_is_said_and_drawn(tmp_path):
    held = Weak.of([made(memory=17 * 2**30)])
    assert held.breaks() == "memory: it doesn't fit on 16 chips."
    sent = Weak.of([made(4, seconds=0.6, gathered=80 * 10**9)])
    assert sent.breaks().startswith("ICI: on 16 chips it takes 750 ms, and computing")
    plan = made(16)
    slow = Weak.of([replace(plan, gradients=256 * 10**10)])
    assert slow.breaks().startswith("DCN: on 1,024 chips it takes 4.8 s")
    lines = weak_lines(slow)
    assert max(map(len, lines[:-1])) <= 80 and "formula" in lines[-2]
    draw_weak(slow, tmp_path / "weak.png")
    assert (tmp_path / "weak.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="needs topologies of one chip"):
        Weak.of([plan, made(4, chip=CHIPS["v6e"])])
    with pytest.raises(UserError, match="leave --slices out"):
        Weak.of([replace(plan, topology=replace(plan.topology, slices=2))])
    with pytest.raises(UserError, match="Give a topology of two or more"):
        Weak.of([made(1)])


def test_the_network_is_named_by_the_axis_that_goes_over_slices():
    links = Links({"data": 2, "fsdp": 16, "tensor": 1}, V5E, None, 2)
    assert links.along(NETWORK) == "data" and links.link(NETWORK) == "DCN"
    assert links.rate(Route("all-reduce", NETWORK)) == V5E.network == 3.125e9


def test_a_slice_has_groups_of_its_own_whichever_axis_goes_over_slices():
    """Its program counts its devices alone: those of one replica, of both stages."""
    sizes = dict.fromkeys(MESH, 1) | {"stage": 4, "replica": 2, "fsdp": 8}
    chips = [
        Chip(64 * number + x + 8 * y, number, "tpu", "TPU v5 lite", coords=(x, y, 0))
        for number in range(2)
        for x in range(8)
        for y in range(4)
    ]
    mesh = arranged(sizes, chips)
    links = Links.of(mesh, V5E, 2)
    assert links.along(NETWORK) == "replica"
    assert links.along((0, 8, 16, 24)) == "stage" and links.along((1, 3)) == "fsdp"
    one = [device for device in mesh.devices.flat if device.slice_index == 0]
    assert links.places.tolist() == [list(device.coords) for device in one]
