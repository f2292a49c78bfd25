"""How devices are arranged, and what of a batch each of them has."""

import jax
import pytest

from lm_jax.errors import UserError
from lm_jax.sharding import Sharding, batch_sharding, batch_ways, make_mesh


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
