"""What a plan says of compiled steps, against the model's own count."""

from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lm_jax.chips import CHIPS
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.kernels import attention_gpu, experts
from lm_jax.kernels.attention_tpu import flops
from lm_jax.scaling.collectives import NETWORK, Route
from lm_jax.scaling.cost import Cost, count
from lm_jax.scaling.links import Links
from lm_jax.scaling.plan import NotCompiled, Plan, TooLarge, plan
from lm_jax.scaling.topology import Topology, topologies
from lm_jax.training.setup import set_up
from tests.tiny import write_tiny


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A function from overrides of tiny.py to its setup and plan on two devices."""
    folder = tmp_path_factory.mktemp("planned")
    write_tiny(folder)
    jax.devices()  # as many as the tests have, whatever is asked for first
    (topology,) = topologies("cpu:2")

    def of(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            experiment = load("tiny.py").experiment
            experiment = override(experiment, [*args, "--fsdp", "2"], "plan")
            setup = set_up(experiment, list(topology.devices), fresh=False)
        return setup, plan(setup, topology)

    return of


def other_half(setup):
    """Operations of attention to what comes later: the plain form makes them too."""
    model, context = setup.model, setup.data.context
    return 6 * setup.units.tokens * model.layers * 2 * model.width * context / 2


LAYERS = ("--model.layers", "2")


@pytest.fixture(scope="module")
def unrolled(planned):
    return planned(*LAYERS)


@pytest.fixture(scope="module")
def scanned(planned):
    return planned(*LAYERS, "--scan", "True")


def test_compiled_operations_are_the_models_own(unrolled):
    setup, made = unrolled
    assert made.model_flops == setup.units.flops / 2
    assert made.cost.flops == made.model_flops + other_half(setup) / 2
    assert not made.cost.uncounted


def test_scanned_layers_cost_what_unrolled_ones_do(unrolled, scanned):
    (_, one), (_, other) = unrolled, scanned
    assert one.cost.flops == other.cost.flops
    gathered = [
        sum(each.size for each in made.traffic() if each.kind == "all-gather")
        for made in (one, other)
    ]
    assert gathered[0] == gathered[1] > 0
    assert one.arguments == other.arguments


def test_arguments_are_a_devices_part_of_the_state_and_the_batch(scanned):
    setup, made = scanned

    def held(array):
        shape = array.sharding.shard_shape(array.shape)
        return jnp.dtype(array.dtype).itemsize * jnp.prod(jnp.array(shape))

    batch = setup.placed_batch(setup.order.shapes[-1])
    arrays = setup.placed_shapes(), batch, setup.constants()
    assert made.arguments == sum(map(held, jax.tree.leaves(arrays)))
    assert made.memory > made.arguments


def test_a_state_that_is_too_large_is_said_without_compiling(scanned, monkeypatch):
    setup, made = scanned
    monkeypatch.delattr(jax.stages.Lowered, "compile")
    small = replace(CHIPS["v5e"], memory=made.arguments // 2)
    with pytest.raises(TooLarge, match="the state alone is 0.0 GiB a device"):
        plan(setup, replace(made.topology, chip=small))


def test_what_a_compiler_fails_with_is_said_in_short(scanned, monkeypatch):
    setup, made = scanned

    def fails(*args, **named):
        raise RuntimeError("INTERNAL: no\n  such " + "thing " * 99)

    monkeypatch.setattr(jax.stages.Lowered, "compile", fails)
    with pytest.raises(
        NotCompiled, match="^RuntimeError: INTERNAL: no such thing"
    ) as e:
        plan(setup, made.topology)
    assert len(str(e.value)) < 250


def test_gradients_are_of_all_parameters_wherever_they_lie(planned, scanned):
    setup, made = scanned
    numbers = sum(leaf.size for leaf in jax.tree.leaves(setup.placed_shapes().params))
    assert made.gradients == 4 * numbers
    parts = planned(*LAYERS, "--scan", "True", "--accumulate", "2")[1]
    assert parts.gradients == 2 * made.gradients


def test_a_scan_costs_what_its_unrolled_steps_do():
    def loss(weights, x, loop):
        def layer(x, weight):
            return jnp.tanh(x @ weight), None

        if loop:
            return jax.lax.scan(layer, x, weights)[0].sum()
        for weight in weights:
            x, _ = layer(x, weight)
        return x.sum()

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, 8, 8), (6, 8))]
    step = jax.jit(jax.grad(loss), static_argnums=2)
    found = [
        count(step.lower(*shapes, loop).compile().as_text()) for loop in (True, False)
    ]
    # Forward, and the gradients of weights and inputs; none of the first inputs.
    assert found[0].flops - found[1].flops in (0, 2 * 6 * 8 * 8)
    assert found[1].flops == (3 * 4 - 1) * 2 * 6 * 8 * 8


@pytest.fixture(scope="module")
def pair():
    mesh = jax.make_mesh((2,), ("fsdp",), devices=jax.devices()[:2])
    return [NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["fsdp"], [])]


def test_a_weight_in_parts_is_gathered_once_in_every_run_of_a_loop(pair):
    apart, whole = pair

    def step(x, weights):
        def layer(x, weight):
            weight = jax.lax.with_sharding_constraint(weight, whole)
            return jnp.tanh(x @ weight), None

        return jax.lax.scan(layer, x, weights)[0]

    parts = NamedSharding(apart.mesh, PartitionSpec(None, "fsdp"))
    x = jax.ShapeDtypeStruct((6, 8), jnp.float32, sharding=apart)
    weights = jax.ShapeDtypeStruct((5, 8, 8), jnp.float32, sharding=parts)
    cost = count(jax.jit(step).lower(x, weights).compile().as_text())
    assert cost.collectives == {Route("all-gather", (0, 1)): 5}
    assert cost.sizes == {Route("all-gather", (0, 1)): 5 * 8 * 8 * 4}
    assert cost.flops == 5 * 2 * 3 * 8 * 8


def test_a_sum_over_devices_is_counted_whole(pair):
    apart, whole = pair
    x = jax.ShapeDtypeStruct((2, 50), jnp.float32, sharding=apart)
    step = jax.jit(lambda x: x.sum(0), out_shardings=whole)
    cost = count(step.lower(x).compile().as_text())
    assert cost.sizes == {Route("all-reduce", (0, 1)): 200}


def placed(shape):
    """Where chips of a torus stand, the last axis first to vary."""
    return np.array(list(np.ndindex(*shape)))


def made_of(cost, flops=0.0, slices=1, **axes):
    """A plan of v5p:2x2x4: of its axes only the last is a ring."""
    links = Links(axes, CHIPS["v5p"], placed((2, 2, 4)), slices)
    topology = Topology("v5p:2x2x4", (None,) * 16, CHIPS["v5p"], slices)
    return Plan(topology, links, 0, 0, flops, 0, 1000, cost)


def test_seconds_of_each_part_of_a_chip_and_of_a_step():
    """A v5p has six links of 100 GB/s, two along each axis."""
    routes = {
        Route("all-gather", (0, 1, 2, 3)): 400 * 10**9,  # a ring: both ways
        Route("all-reduce", (0, 8)): 100 * 10**9,  # two ends: one neighbour
        Route("all-gather", tuple(range(16))): 160 * 10**9,
    }
    cost = Cost(
        passes=459e12,
        bytes=2 * 2765e9,
        seconds=2.5,
        collectives=Counter(dict.fromkeys(routes, 1)),
        sizes=Counter(routes),
    )
    made = made_of(cost, 4.59e14, data=4, fsdp=4)
    found = made.seconds()
    assert found.pop("ICI data+fsdp") == pytest.approx(150 / 400)
    assert found == {"compute": 1.0, "memory": 2.0, "ICI fsdp": 1.5, "ICI data": 1.0}
    assert made.step == 2.5 + 2.875 and made.overlapped == 2.875
    assert made.binds == "memory" and made.utilization == 1 / 5.375
    assert [each.axis for each in made.traffic()] == ["fsdp", "data+fsdp", "data"]


def test_what_goes_between_slices_goes_over_their_network():
    route = Route("all-reduce", NETWORK)
    cost = Cost(collectives=Counter({route: 3}), sizes=Counter({route: 8 * 10**9}))
    made = made_of(cost, slices=4, data=4, fsdp=16)
    (each,) = made.traffic()
    assert each[:4] == ("all-reduce", "data", "DCN", 3)
    assert each.sent == 2 * 3 / 4 * 8e9 and each.seconds == each.sent / 6.25e9
    assert made.binds == "DCN"
    gathered = Route("all-gather", NETWORK)
    assert made.links.sent(gathered, 1e9) == 3e9


def test_more_than_the_peak_is_an_error():
    cost = Cost(seconds=1.0, uncounted=Counter({"a_kernel": 2}))
    assert made_of(cost, 459e12, data=16).utilization == 1.0
    with pytest.raises(ArithmeticError, match="MFU of 110%.* of a_kernel"):
        made_of(cost, 1.1 * 459e12, data=16)


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("splash_mha_fwd_residuals", 2),
        ("splash_mha_fwd_segmented_no_residuals", 2),
        ("splash_mha_dq_no_residuals", 3),
        ("splash_mha_dkv_no_residuals", 4),
    ],
)
def test_operations_of_attentions_kernels(name, products):
    shapes = [(2, 8, 512, 64), (2, 4, 256, 64), (2, 4, 256, 64)]
    assert flops(name, shapes) == products * 2 * 2 * 8 * 512 * 256 * 64
    of_one_row = [shape[1:] for shape in shapes]
    assert flops(name, of_one_row) == products * 2 * 8 * 512 * 256 * 64
    assert flops("matmul", shapes) is None


def test_operations_of_products_of_rows_that_are_sorted_by_their_expert():
    once = 2 * 512 * 16 * 8
    for shapes in [
        [(512, 16), (4, 16, 8)],  # forward
        [(512, 8), (4, 16, 8)],  # the gradient of the rows
        [(512, 16), (512, 8)],  # and that of the kernels
    ]:
        assert experts.flops("ragged-dot-none", shapes) == once
        assert experts.flops("gmm", shapes) == experts.flops("tgmm", shapes) == once
    assert experts.flops("ragged-dot-metadata", []) == 0
    assert experts.flops("splash_mha_fwd", [(4, 4), (4, 4)]) is None


def test_operations_of_cudnns_attention():
    shapes = [(2, 512, 8, 64), (2, 256, 8, 64), (2, 256, 8, 64)]
    once = 2 * 2 * 8 * 512 * 256 * 64
    assert attention_gpu.flops("__cudnn$fmhaSoftmax", shapes) == 2 * once
    assert attention_gpu.flops("__cudnn$fmhaSoftmaxBackward", shapes) == 5 * once
    assert attention_gpu.flops("__cublas$gemm", shapes) is None
