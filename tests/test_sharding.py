"""How devices are arranged, and what of a batch each of them has."""

import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.kernels.placement import constrain, gathered
from lm_jax.mesh import arranged, make_mesh
from lm_jax.models import GatedConv, NoPositions, Recurrent, Transformer
from lm_jax.objectives import NextToken
from lm_jax.selectors import path_name
from lm_jax.sharding import (
    MESH,
    Sharding,
    batch_sharding,
    batch_ways,
    on_mesh,
    state_shardings,
)
from tests.fake_chip import Chip
from tests.first import first_params
from tests.properties import slow_but


@pytest.mark.parametrize("tensor", [1, 2])
@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_a_batch_falls_into_as_many_parts_as_its_rows_must_divide_by(fsdp, tensor):
    mesh = make_mesh(Sharding(fsdp=fsdp, tensor=tensor), jax.devices())
    parts = batch_sharding(mesh).devices_indices_map((64,)).values()
    assert len({(rows.start, rows.stop) for (rows,) in parts}) == batch_ways(mesh)


def test_more_devices_than_there_are_is_said_of_one_and_of_several():
    with pytest.raises(UserError, match="fsdp=4, .* one device.*=4 .*--fsdp 1$"):
        make_mesh(Sharding(fsdp=4), jax.devices()[:1])
    with pytest.raises(UserError, match="doesn't use .* are 4. Type --fsdp 2$"):
        make_mesh(Sharding(fsdp=3), jax.devices()[:4])


def test_a_rule_for_an_axis_that_no_mesh_has_is_refused():
    with pytest.raises(UserError, match="'tensr', and a rule can name .*'tensor'"):
        Sharding(rules=(("kernel$", (None, "tensr")), (".*", ())))


@pytest.mark.parametrize(
    ("sharding", "sizes"),
    [
        (Sharding(fsdp=2), {"data": 4, "fsdp": 2}),
        (Sharding(expert=-1, tensor=2), {"expert": 4, "tensor": 2}),
        (Sharding(data=2, sequence=-1), {"data": 2, "sequence": 4}),
        (Sharding(replica=2), {"replica": 2, "data": 4}),
    ],
    ids=str,
)
def test_any_axis_takes_the_devices_that_are_left(sharding, sizes):
    shape = make_mesh(sharding, jax.devices()).shape
    assert {axis: n for axis, n in shape.items() if n > 1} == sizes


@pytest.mark.parametrize(
    ("sharding", "words"),
    [
        (Sharding(fsdp=-1, tensor=-1), "fsdp and sharding.tensor are both -1"),
        (Sharding(expert=0), "sharding.expert=0: give 1 or more, or -1"),
        (Sharding(sequence=3), "tensor=1, sequence=3 doesn't use them all"),
        (Sharding(expert=-1, tensor=16), "tensor=16 wants more"),
    ],
    ids=str,
)
def test_sizes_that_can_not_be_are_refused(sharding, words):
    with pytest.raises(UserError, match=words):
        make_mesh(sharding, jax.devices())


def test_a_mesh_that_would_cut_an_axis_of_chips_says_which_sizes_can_be_had():
    chips = [
        Chip(number, 0, "tpu", "TPU v6 lite", coords=(number % 8, number // 8, 0))
        for number in range(64)
    ]
    with pytest.raises(UserError, match="fsdp=16: the chips stand 8 x 8.* 1, 8, 64"):
        arranged(dict.fromkeys(MESH, 1) | {"data": 4, "fsdp": 16}, chips)
    two = chips + [replace(chip, id=64 + chip.id, slice_index=1) for chip in chips]
    with pytest.raises(UserError, match="fsdp=16: the chips stand 8 x 8.* 1, 8, 64"):
        arranged(dict.fromkeys(MESH, 1) | {"data": 8, "fsdp": 16}, two)
    with pytest.raises(UserError, match="data=32: the chips stand 8 x 8.* 2, 16, 128"):
        arranged(dict.fromkeys(MESH, 1) | {"data": 32, "tensor": 4}, two)


def test_the_optimizers_arrays_can_wait_in_the_memory_of_the_host():
    sharding = Sharding(fsdp=2, optimizer_memory="host")
    arrays = {"kernel": jnp.zeros((4, 4))}
    state = {"params": arrays, "opt_state": {"mu": arrays, "count": jnp.zeros(())}}
    mesh = make_mesh(sharding, jax.devices()[:2])
    found = state_shardings(sharding, mesh, state)
    kinds = jax.tree.map(lambda place: place.memory_kind, found)
    assert kinds["params"] == {"kernel": "device"}
    assert kinds["opt_state"] == {"mu": {"kernel": "pinned_host"}, "count": "device"}


def test_slow_links_between_slices_are_crossed_by_one_axis_alone():
    chips = [Chip(number, slice_index=number % 2) for number in range(8)]
    meshes = {
        "replica": {"replica": 2, "stage": 2, "fsdp": 2},
        "stage": {"stage": 4, "data": 2},  # neighbours of a slice hand over within it
        "fsdp": {"fsdp": 8},
    }
    for over, sizes in meshes.items():
        mesh = arranged(dict.fromkeys(MESH, 1) | sizes, chips)
        halves = np.moveaxis(mesh.devices, MESH.index(over), 0).reshape(2, -1)
        assert [{chip.slice_index for chip in half} for half in halves] == [{0}, {1}]
    with pytest.raises(UserError, match="2 slices .* let sharding.replica be 2"):
        arranged(dict.fromkeys(MESH, 1) | {"tensor": 8}, chips)


STATE = {
    "up": {"kernel": np.zeros((4, 8, 16)), "bias": np.zeros((4, 16))},
    "query": {"kernel": np.zeros((8, 16)), "bias": np.zeros(16)},
    "blocks": {"up": {"kernel": np.zeros((4, 8, 16))}},
}


def places(sharding, state):
    """What splits each array of a state."""
    found = state_shardings(sharding, make_mesh(sharding, jax.devices()), state)
    specs = jax.tree.map(lambda place: tuple(place.spec), found)
    return dict(jax.tree_util.tree_leaves_with_path(specs, is_leaf=is_spec))


def is_spec(node):
    return isinstance(node, tuple)


def test_experts_are_split_and_layers_of_a_scan_over_stages():
    sharding = Sharding(expert=2, fsdp=2, tensor=2)
    found = {path_name(path): spec for path, spec in places(sharding, STATE).items()}
    assert found == {
        "up/kernel": ("expert", "fsdp", "tensor"),
        "up/bias": ("expert", None),
        "query/kernel": ("fsdp", "tensor"),
        "query/bias": (None,),
        "blocks/up/kernel": ("stage", "fsdp", "tensor"),
    }


def test_zero_1_splits_what_the_optimizer_keeps_and_averages_alone():
    kernel = {"kernel": np.zeros((16, 6))}
    state = dict.fromkeys(("params", "opt_state", "average"), kernel)
    for sharding, whole, split in (
        (Sharding(fsdp=2), ("fsdp", "tensor"), ("fsdp", "tensor")),
        (
            Sharding(fsdp=2, tensor=2, rule_set="zero1"),
            (None, "tensor"),
            (("data", "fsdp"), "tensor"),
        ),
    ):
        found = {path_name(p): s for p, s in places(sharding, state).items()}
        assert found["params/kernel"] == whole
        assert found["opt_state/kernel"] == found["average/kernel"] == split


def test_a_parameter_that_can_not_be_divided_is_named_with_the_nearest_sizes():
    state = {"params": {"kernel": np.zeros((12, 16))}}
    words = r"fsdp=8 .* 'params/kernel' \(12, 16\). The nearest that do: 6 or 12;"
    with pytest.raises(UserError, match=words):
        places(Sharding(fsdp=8), state)


def lies(made):
    """How each axis of an array is split."""
    return tuple(made.sharding.spec) + (None,) * (made.ndim - len(made.sharding.spec))


def test_an_activation_lies_as_its_axes_say():
    sharding = Sharding(fsdp=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices())

    def put(x, *axes):
        return lies(jax.jit(on_mesh(lambda x: constrain(x, *axes), sharding, mesh))(x))

    assert put(jnp.zeros((8, 6, 4)), "batch", "time", "vocab") == (
        ("data", "fsdp"),
        None,
        "tensor",
    )
    assert put(jnp.zeros((8, 5, 3)), "batch", "heads") == (("data", "fsdp"), None, None)
    # What its mesh axes don't divide stays whole.
    assert put(jnp.zeros((3, 4)), "batch", "vocab") == (None, "tensor")
    x = jnp.zeros((3, 4))
    assert constrain(x, "batch", "vocab") is x


@pytest.mark.parametrize(
    ("use", "used"),
    [
        ("product", (None, "tensor")),
        ("lookup", (None, "tensor")),
        ("whole", (None,) * 2),
    ],
)
def test_a_weight_is_whole_where_it_is_used_and_its_gradient_lies_in_parts(use, used):
    sharding = Sharding(fsdp=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices())
    weight = jnp.arange(64.0).reshape(8, 8)

    def twice(weight):
        return 2 * gathered(weight, ("dense", "kernel"), jnp.bfloat16, use)

    made, pull = jax.vjp(jax.jit(on_mesh(twice, sharding, mesh)), weight)
    assert lies(made) == used and made.dtype == jnp.bfloat16
    (gradient,) = pull(jnp.ones((8, 8), jnp.bfloat16))
    assert gradient.dtype == jnp.float32 and (gradient == 2).all()

    def moved(weight):
        return jax.vjp(twice, weight)[1](jnp.ones((8, 8), jnp.bfloat16))[0]

    assert lies(jax.jit(on_mesh(moved, sharding, mesh))(weight)) == ("fsdp", "tensor")
    assert gathered(weight, ("dense", "kernel"), jnp.bfloat16, use) is weight
    # It has the type to compute in before it travels, and half of the bytes.
    text = jax.jit(on_mesh(twice, sharding, mesh)).lower(weight).as_text()
    said = re.findall(r"constraint|convert", text)
    assert said == ["constraint", "convert", "constraint"]


UNTIED = {"vocab_size": 194, "tied": False, "width": 16}
DECODER = Transformer(
    layers=1, heads=2, vocab_size=194, width=16, positions=NoPositions()
)
READERS = {
    "decoder": DECODER,
    "untied": DECODER.clone(tied=False),
    "recurrent": Recurrent(**UNTIED),
    "convolutional": GatedConv(layers=1, vocab_size=194, width=16),
}


@pytest.mark.parametrize("name", slow_but(READERS, "decoder"))
def test_a_device_has_the_logits_of_its_part_of_the_vocabulary_alone(name):
    """In both passes: nothing has all words of all tokens, or of half of them."""
    model, sharding = READERS[name], Sharding(tensor=2)
    mesh = make_mesh(sharding, jax.devices()[:2])
    tokens = jnp.zeros((4, 8), jnp.int32)
    params = first_params(model, 0, tokens)

    def loss(params, tokens):
        batch = {"inputs": tokens, "targets": tokens}
        return NextToken()(model, params, batch, None, None).loss

    step = on_mesh(jax.grad(loss), sharding, mesh)
    state = jax.device_put(params, state_shardings(sharding, mesh, params))
    text = jax.jit(step).lower(state, tokens).compile().as_text()
    made = [re.findall(r"\d+", dims) for dims in re.findall(r"f32\[([\d,]+)\]", text)]
    sizes = [[int(size) for size in shape] for shape in made]
    of_words = {math.prod(shape) for shape in sizes if 97 in shape}
    assert 4 * 8 * 97 in of_words
    assert not any(194 in shape and math.prod(shape) >= 194 * 16 * 2 for shape in sizes)
