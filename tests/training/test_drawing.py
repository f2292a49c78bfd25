"""Values that are drawn one by one are those that are drawn at once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lm_jax.models import MoE, Recurrent, Rotary, Transformer
from lm_jax.models.stack import initialise
from lm_jax.training.drawing import Draws

SHAPE = {"width": 8, "heads": 2, "positions": Rotary(), "vocab_size": 16}
MODELS = {
    "decoder": Transformer(layers=2, **SHAPE),
    "untied": Transformer(layers=1, tied=False, **SHAPE),
    "experts": Transformer(layers=1, feedforward=MoE(experts=4, k=2), **SHAPE),
    "recurrent": Recurrent(width=8, layers=2, vocab_size=16),
}


def maker(model):
    tokens = jnp.zeros((8, 4), jnp.int32)
    return lambda key: initialise(model, key, tokens)


def over_devices(shapes):
    """Split along the first axis where eight devices divide it."""
    mesh = Mesh(jax.devices(), "x")
    return jax.tree.map(
        lambda s: NamedSharding(
            mesh, PartitionSpec("x" if s.ndim and s.shape[0] % 8 == 0 else None)
        ),
        shapes,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_drawn_one_by_one_equals_drawn_at_once(name):
    make, key = maker(MODELS[name]), jax.random.key(3)
    shardings = over_devices(jax.eval_shape(make, key))
    found, wanted = Draws(make, shardings)(key), jax.jit(make)(key)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert jax.tree.map(lambda leaf: leaf.sharding, found) == shardings


def test_layers_share_their_programs(monkeypatch):
    """Six layers compile what two do: their values differ, not their programs."""
    compiled, compile = [], jax._src.compiler.compile_or_get_cached

    def counted(*args, **kwargs):
        compiled.append(args)
        return compile(*args, **kwargs)

    monkeypatch.setattr(jax._src.compiler, "compile_or_get_cached", counted)
    programs = []
    # The first 2 compiles also what JAX itself needs once a process (keys, say).
    for layers in (2, 2, 6):
        make, key = maker(Transformer(layers=layers, **SHAPE)), jax.random.key(0)
        params = Draws(make, over_devices(jax.eval_shape(make, key)))(key)
        programs.append(len(compiled))
        compiled.clear()
        blocks = [params[f"block_{layer}"]["attention"] for layer in range(layers)]
        first, second = (np.asarray(jax.tree.leaves(b)[-1]) for b in blocks[:2])
        assert (first != second).any()
    # GPT2's projections are as small as there are layers: other numbers, as many.
    assert programs[1] == programs[2] < len(jax.tree.leaves(params)) / 4


class Constants(nn.Module):
    """Arrays that are alike in everything but what they hold."""

    @nn.compact
    def __call__(self):
        for number in range(3):
            values = np.full((4,), number, np.float32)
            self.param(f"p{number}", lambda key, values=values: jnp.array(values))
        self.param("drawn", lambda key: jax.random.split(key, 1)[0])
        self.param("zero", nn.initializers.zeros, ())


def test_constants_of_a_users_own_are_not_mixed_up():
    def make(key):
        return Constants().init(key)["params"]

    key = jax.random.key(0)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shardings = jax.tree.map(lambda _: here, jax.eval_shape(make, key))
    found, wanted = Draws(make, shardings)(key), make(key)
    assert found.keys() == wanted.keys()
    for number in range(3):
        assert set(np.asarray(found[f"p{number}"])) == {number}
    assert found["drawn"] == wanted["drawn"]


def test_without_compiling_the_values_are_the_same():
    """JAX_DISABLE_JIT, for a debugger."""
    make, key = maker(MODELS["decoder"]), jax.random.key(3)
    shardings = over_devices(jax.eval_shape(make, key))
    wanted = Draws(make, shardings)(key)
    with jax.disable_jit():
        jax.tree.map(np.testing.assert_allclose, Draws(make, shardings)(key), wanted)
