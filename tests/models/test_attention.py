"""The parts of a block that attend: projections, norms, positions, heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import NoPositions
from lm_jax.models.attention import Attention, CrossAttention
from lm_jax.models.config import BlockConfig
from lm_jax.models.patterns import causal_mask, causally_shared
from tests.kernels.test_attention import defined


def heads_of(params, name, x, dim, qk_norm):
    """Queries, keys or values of x, head by head, word for word."""
    made = x @ params[name]["kernel"]
    rows = made.reshape(*made.shape[:2], -1, dim)
    if qk_norm == "head" and name != "value":
        size = np.sqrt(np.square(rows).mean(-1, keepdims=True) + 1e-6)
        rows = rows / size * params[f"{name}_norm"]["scale"]
    return jnp.swapaxes(rows, 1, 2)


BENT = {"softcap": 0.7, "attention_scale": 2.0, "qk_norm": "head", "kv_heads": 1}
CASES = [{}, *({name: value} for name, value in BENT.items()), BENT]


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
@pytest.mark.parametrize(
    "fields", CASES, ids=lambda fields: " ".join(fields) or "plain"
)
def test_a_layer_attends_as_its_fields_say(fields, cross):
    """Each choice that acts on scores acts in both kinds of attention."""
    config = BlockConfig(
        heads=2, width=8, positions=NoPositions(), cross=cross, **fields
    )
    x, source = jax.random.normal(jax.random.key(0), (2, 2, 5, 8)) * 3
    seen = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])
    shared = causally_shared(5, None, None, None)
    shared = shared._replace(source=source, source_mask=seen)
    layer = CrossAttention(config) if cross else Attention(config)
    args = (x, shared) if cross else (x, 0, shared)
    params = layer.init(jax.random.key(1), *args)["params"]
    params = jax.tree.map(lambda p: p if (p == 1).all() else p * 30, params)
    found, _ = layer.apply({"params": params}, *args)
    dim, norm = config.dim, config.qk_norm
    query = heads_of(params, "query", x, dim, norm)
    key, value = (
        heads_of(params, name, source if cross else x, dim, norm)
        for name in ("key", "value")
    )
    query = query * config.score_scale * np.sqrt(dim)
    mask = seen[:, None, None] if cross else causal_mask(5)
    mixed = defined(query, key, value, mask, softcap=config.softcap)
    joined = jnp.swapaxes(mixed, 1, 2).reshape(2, 5, -1)
    np.testing.assert_allclose(
        found, joined @ params["output"]["kernel"], rtol=2e-4, atol=2e-4
    )
    plain = BlockConfig(heads=2, width=8, positions=NoPositions(), cross=cross)
    if fields and "kv_heads" not in fields and "qk_norm" not in fields:
        other, _ = layer.clone(config=plain).apply({"params": params}, *args)
        assert jnp.abs(other - found).max() > 1e-2
