"""Computing again in the backward pass: the same numbers, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import (
    Alternating,
    EncoderDecoder,
    Gated,
    MoE,
    Recurrent,
    Rotary,
    Transformer,
)
from lm_jax.models.stack import laid_out
from tests.first import first_params
from tests.properties import slow_but

SIZES = {"layers": 2, "heads": 2, "width": 32, "vocab_size": 16, "positions": Rotary()}
MODELS = {
    "decoder": Transformer(
        **SIZES, dropout=0.1, attention=Alternating(3), feedforward=Gated()
    ),
    "experts": Transformer(**SIZES, feedforward=MoE(experts=2, k=1)),
    "both": EncoderDecoder(**SIZES),
}
TOKENS = jnp.arange(4 * 24, dtype=jnp.int32).reshape(4, 24) % 16


def step_of(name, scan, remat):
    """The jitted value and gradients of a model, and its parameters."""
    model = laid_out(MODELS[name], scan, remat)
    more = {"source": TOKENS} if name == "both" else {}
    params = first_params(model, 0, TOKENS, *([None] * 4), *more.values())

    def value(params):
        keys = jax.random.split(jax.random.key(1), len(TOKENS))
        (logits, _), sown = model.apply(
            {"params": params}, TOKENS, dropout_keys=keys, **more, mutable="penalties"
        )
        penalties = sum(map(jnp.sum, jax.tree.leaves(sown)))
        return jnp.square(jax.nn.log_softmax(logits)).mean() + penalties

    return jax.jit(jax.value_and_grad(value)), params


MADE = {
    "scanned": ("decoder", True, ("projections",)),
    "all of them": ("decoder", False, ("full", "products", "projections")),
    "all of them, scanned": ("decoder", True, ("full", "products", "projections")),
    "experts": ("experts", True, ("projections",)),
    "both": ("both", False, ("full",)),
}


@pytest.mark.parametrize("which", slow_but(MADE, "scanned"))
def test_numbers_stay_and_memory_shrinks(which):
    name, scan, remats = MADE[which]
    made = {}
    for remat in ("none", *remats):
        step, params = step_of(name, scan, remat)
        compiled = step.lower(params).compile()
        made[remat] = (
            compiled(params),
            compiled.memory_analysis().temp_size_in_bytes,
        )
    whole, most = made.pop("none")
    for found, memory in made.values():
        assert memory < 0.9 * most
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            found,
            whole,
        )
    if len(made) == 3:
        sizes = [made[remat][1] for remat in ("full", "projections", "products")]
        assert sizes == sorted(sizes)


def test_offload_lets_the_input_of_each_block_wait_in_the_hosts_memory():
    for remat, moves in (("full", 0), ("offload", 2 * 2)):  # there and back
        step, params = step_of("decoder", False, remat)
        lowered = step.trace(params).lower(lowering_platforms=("tpu",))
        assert lowered.as_text().count("annotate_device_placement") == moves


def test_what_cannot_be_computed_again_is_refused():
    with pytest.raises(ValueError, match="remat computes blocks again, and Recurrent"):
        laid_out(Recurrent(), False, "full")
    assert laid_out(Recurrent(), False, "none") == Recurrent()
