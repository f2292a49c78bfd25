"""Splash attention, computed step by step, is the plain form."""

import jax
import jax.numpy as jnp
import pytest

from lm_jax.kernels.attention import Sight, attend
from lm_jax.kernels.attention_tpu import attend_splash, lacks
from lm_jax.mesh import make_mesh
from lm_jax.models import Alternating, BlockLocal, Full, SlidingWindow
from lm_jax.models.patterns import causally_shared, shared_from_both_sides
from lm_jax.sharding import Sharding, on_mesh
from tests.kernels.test_attention import all_of, check, inputs
from tests.properties import slow_but

TIME = 256
CASES = {
    "causal": {},
    "both sides, few keys": {"causal": False, "kv_heads": 1},
    "window, segments": {"pattern": SlidingWindow(70), "segments": True},
    "softcap, segments": {"softcap": 2.0, "segments": True},
    "window of both sides": {"pattern": SlidingWindow(130), "causal": False},
    "every second layer": {"pattern": Alternating(50), "index": 0},
    "blocks": {"pattern": BlockLocal(60), "index": 1, "segments": True},
    "bfloat16": {"segments": True, "dtype": "bfloat16"},
}


def forms(pattern=Full(), causal=True, segments=False, softcap=None, index=0, rows=2):
    """The plain form and the kernel, of queries, keys and values."""
    texts = jnp.arange(rows * TIME).reshape(rows, TIME) // 90 if segments else None
    share = causally_shared if causal else shared_from_both_sides
    shared = share(TIME, None, texts, None)
    near = pattern.sees(
        shared.positions[:, :, None], shared.key_positions[:, None], index
    )
    mask = shared.mask if near is None else shared.mask & near[:, None]
    places = jnp.broadcast_to(shared.positions, (rows, TIME))
    (sight,) = pattern.sights(causal, places, texts, index)

    def plain(query, key, value):
        return attend(query, key, value, mask, scale=0.3, softcap=softcap)

    def kernel(query, key, value):
        return attend_splash(query, key, value, sight, 0.3, softcap, interpret=True)

    return plain, kernel


@pytest.mark.parametrize("name", slow_but(CASES, "window, segments"))
def test_values_and_gradients_are_those_of_the_plain_form(name):
    more = dict(CASES[name])
    dtype = more.pop("dtype", "float32")
    arrays = inputs(2, 2, more.pop("kv_heads", 2), TIME, TIME, 64, dtype)
    plain, kernel = forms(**more)
    run = jax.jit(all_of, static_argnums=0)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    check(run(kernel, *arrays), run(plain, *arrays), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sharding", [Sharding(fsdp=4), Sharding(tensor=2), Sharding(sequence=2)], ids=str
)
def test_each_device_attends_for_its_own_rows_heads_and_queries(sharding):
    arrays = inputs(4, 2, 2, TIME, TIME, dim=64)
    plain, kernel = forms(segments=True, rows=4)
    mesh = make_mesh(sharding, jax.devices()[: sharding.least])
    run = jax.jit(on_mesh(lambda *a: all_of(kernel, *a), sharding, mesh))
    check(run(*arrays), jax.jit(all_of, static_argnums=0)(plain, *arrays), 1e-5)


def test_what_the_kernel_lacks_is_said():
    query, _, key, _ = inputs(1, 2, 1, 128, 128, dim=64)
    sight = Sight(True, None, None)
    assert lacks(query, key, sight, None, None) is None
    assert "100 tokens" in lacks(query[:, :, :100], key[:, :, :100], sight, None, None)
    assert "width 40" in lacks(query[..., :40], key[..., :40], sight, None, None)
