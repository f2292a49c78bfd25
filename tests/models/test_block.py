"""A block against its equations, wherever its norms stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import MLP, NoPositions
from lm_jax.models.block import Block
from lm_jax.models.config import BlockConfig
from lm_jax.models.patterns import causally_shared


def halves(params, x):
    """The two halves of a block of the model below, word for word."""

    def normal(x, name):
        x = x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
        return x * params[name]["scale"]

    def attention(x):
        own = params["attention"]
        query, key, value = (x @ own[n]["kernel"] for n in ("query", "key", "value"))
        scores = query @ key.T / 4.0
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape, bool)), scores, -jnp.inf)
        return jax.nn.softmax(scores) @ value @ own["output"]["kernel"]

    def feedforward(x):
        return jax.nn.relu(x @ params["up"]["kernel"]) ** 2 @ params["down"]["kernel"]

    return normal, attention, feedforward


PLACES = ["pre", "post", "both", "after"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm_at", "parallel", "norms"),
    [
        *((place, parallel, False) for place in PLACES for parallel in (False, True)),
        ("pre", True, True),
    ],
)
def test_where_the_norm_stands(norm_at, parallel, norms):
    """A block against its equations."""
    config = BlockConfig(
        layers=1,
        heads=1,
        width=16,
        positions=NoPositions(),
        norm="rms",
        norm_at=norm_at,
        parallel=parallel,
        parallel_norms=norms,
        feedforward=MLP(activation="relu2"),
    )
    block = Block(config)
    x = jax.random.normal(jax.random.key(0), (1, 5, 16))
    shared = causally_shared(5, None, None, None)
    start = jax.jit(lambda x: block.init(jax.random.key(1), x, 0, None, shared))
    params = start(x)["params"]
    params = jax.tree.map(
        lambda p: 10 * p + 0.3 * jnp.arange(p.shape[-1]) / p.shape[-1], params
    )
    run = jax.jit(lambda p, x: block.apply({"params": p}, x, 0, None, shared)[0][0])
    found = run(params, x)
    norm, attention, feedforward = halves(params, x[0])
    x = x[0]
    if norm_at == "pre":
        first = norm(x, "attention_norm")
        if parallel:
            second = norm(x, "feedforward_norm") if norms else first
            expected = x + attention(first) + feedforward(second)
        else:
            x = x + attention(first)
            expected = x + feedforward(norm(x, "feedforward_norm"))
    elif norm_at == "post":
        if parallel:
            expected = norm(x + attention(x) + feedforward(x), "attention_norm")
        else:
            x = norm(x + attention(x), "attention_norm")
            expected = norm(x + feedforward(x), "feedforward_norm")
    elif norm_at == "after":
        one = norm(attention(x), "attention_after")
        read = x if parallel else x + one
        expected = x + one + norm(feedforward(read), "feedforward_after")
    else:
        first = norm(x, "attention_norm")
        one = norm(attention(first), "attention_after")
        if parallel:
            expected = x + one + norm(feedforward(first), "feedforward_after")
        else:
            x = x + one
            second = feedforward(norm(x, "feedforward_norm"))
            expected = x + norm(second, "feedforward_after")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
