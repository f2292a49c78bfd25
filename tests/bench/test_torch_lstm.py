"""Both sides of the LSTM benchmark compute the same loss, the state carried."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bench.sizes import LSTMSize
from lm_jax.objectives import NextToken

torch = pytest.importorskip("torch")
SIZE = LSTMSize(2, 0, 8, context=5, batch=3, vocab_size=11)


def test_the_losses_of_two_batches_are_equal():
    from lm_jax.bench.torch_lstm import LSTM

    batches = [
        {name: jnp.asarray(array) for name, array in batch.items()}
        for batch in SIZE.batches(2)
    ]
    model = SIZE.model()
    params = model.init(jax.random.key(0), batches[0]["inputs"])["params"]
    other = LSTM(SIZE)

    def given(array):
        return torch.tensor(np.array(array))

    other.embedding.weight.data = given(params["embedding"])
    other.logits.weight.data = given(params["lm_head_kernel"]).T
    other.logits.bias.data = given(params["lm_head_bias"])
    for index in range(2):
        layer = params[f"layer_{index}"]
        weights = {
            "weight_ih": given(layer["input_kernel"]).T,
            "weight_hh": given(layer["recurrent_kernel"]).T,
            "bias_ih": given(layer["bias"]),
            "bias_hh": torch.zeros(32),
        }
        for name, value in weights.items():
            getattr(other.layers, f"{name}_l{index}").data = value
    memory = model.empty_cache(3, 0)
    for batch in batches:
        loss, weight, _, memory = NextToken()(model, params, batch, None, memory)
        wanted = other(*(given(batch[n]).long() for n in ("inputs", "targets")))
        np.testing.assert_allclose(loss / weight, wanted.item(), rtol=1e-5)
