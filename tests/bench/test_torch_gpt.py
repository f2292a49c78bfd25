"""The model in PyTorch is the model in lm_jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bench.sizes import Size
from lm_jax.objectives import NextToken
from tests.first import first_params

torch = pytest.importorskip("torch")

SIZE = Size(layers=2, heads=2, width=16, context=12, batch=3, vocab_size=11)


def torch_arrays(params):
    """Parameters of lm_jax under the names, and in the shapes, of the other."""
    arrays = {
        "embedding.weight": params["embedding"],
        "positions.weight": params["positions"]["embedding"],
        "norm.weight": params["norm"]["scale"],
    }
    for index in range(SIZE.layers):
        block, name = params[f"block_{index}"], f"blocks.{index}"
        attention = block["attention"]
        three = [attention[part]["kernel"].T for part in ("query", "key", "value")]
        arrays |= {
            f"{name}.attention_norm.weight": block["attention_norm"]["scale"],
            f"{name}.projections.weight": jnp.concatenate(three),
            f"{name}.output.weight": attention["output"]["kernel"].T,
            f"{name}.feedforward_norm.weight": block["feedforward_norm"]["scale"],
            f"{name}.up.weight": block["up"]["kernel"].T,
            f"{name}.down.weight": block["down"]["kernel"].T,
        }
    return {name: np.array(array) for name, array in arrays.items()}


def test_loss_and_gradients_are_equal():
    from lm_jax.bench.torch_gpt import GPT

    [batch] = jax.tree.map(jnp.asarray, SIZE.batches(1))
    model = SIZE.model()
    params = first_params(model, 0, jnp.zeros((1, 2), jnp.int32))
    params = jax.tree.map(lambda p: p * 5.0, params)  # far from a uniform guess

    def mean(params):
        loss, weight, *_ = NextToken()(model, params, batch, None)
        return loss / weight

    loss, gradient = jax.jit(jax.value_and_grad(mean))(params)
    other = GPT(SIZE)
    arrays = torch_arrays(params)
    other.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    inputs, targets = (
        torch.from_numpy(np.array(batch[name])).long() for name in ("inputs", "targets")
    )
    other_loss = other(inputs, targets)
    other_loss.backward()
    assert other_loss.item() == pytest.approx(float(loss), rel=1e-5)
    expected = torch_arrays(gradient)
    for name, parameter in other.named_parameters():
        np.testing.assert_allclose(parameter.grad, expected[name], rtol=1e-3, atol=1e-5)
