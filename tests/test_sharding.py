"""How devices are arranged, and what of a batch each of them has."""

import jax
import jax.numpy as jnp
import pytest

from lm_jax.errors import UserError
from lm_jax.kernels.placement import constrain, gathered
from lm_jax.sharding import Sharding, batch_sharding, batch_ways, make_mesh, on_mesh


@pytest.mark.parametrize("tensor", [1, 2])
@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_a_batch_falls_into_as_many_parts_as_its_rows_must_divide_by(fsdp, tensor):
    mesh = make_mesh(Sharding(fsdp=fsdp, tensor=tensor), jax.devices())
    parts = batch_sharding(mesh).devices_indices_map((64,)).values()
    assert len({(rows.start, rows.stop) for (rows,) in parts}) == batch_ways(mesh)


def test_more_devices_than_there_are_is_said_of_one_and_of_several():
    with pytest.raises(UserError, match="There is one device, .*fsdp=4.* wants more"):
        make_mesh(Sharding(fsdp=4), jax.devices()[:1])
    with pytest.raises(UserError, match="There are 4 devices, .*doesn't use them all"):
        make_mesh(Sharding(fsdp=3), jax.devices()[:4])


def test_a_rule_for_an_axis_that_no_mesh_has_is_refused():
    with pytest.raises(UserError, match="'tensr', and a mesh has data.*'tensor'"):
        Sharding(rules=(("kernel$", (None, "tensr")), (".*", ())))


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
