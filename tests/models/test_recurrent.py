"""Recurrent models: equal to PyTorch's, causal, and the same read in parts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.bounds import all_problems
from lm_jax.models import GRU, LSTM, Dropouts, Elman, Recurrent
from lm_jax.models.dropout import example_keys
from tests.first import applied, first_params
from tests.properties import slow_but

CELLS = (Elman(), Elman("relu"), LSTM(), GRU())
TWO = (Elman(biases=2), LSTM(biases=2))
names = [f"{cell}" for cell in CELLS]


def small(cell, **fields):
    return Recurrent(cell, layers=2, width=8, vocab_size=11, **fields)


def drawn(model, shape=(3, 7), seed=0):
    tokens = jax.random.randint(jax.random.key(seed), shape, 0, model.vocab_size)
    return first_params(model, 1, tokens), tokens


@pytest.mark.parametrize("cell", CELLS + TWO, ids=str)
def test_equals_pytorch(cell):
    torch = pytest.importorskip("torch")
    model = small(cell, embedding_width=6)
    params, tokens = drawn(model)
    kinds = {"Elman": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}
    more = {"nonlinearity": cell.activation} if isinstance(cell, Elman) else {}
    other = kinds[type(cell).__name__](6, 8, 2, batch_first=True, **more)
    for index in range(2):
        own = {
            k: torch.tensor(np.array(v)) for k, v in params[f"layer_{index}"].items()
        }
        getattr(other, f"weight_ih_l{index}").data = own["input_kernel"].T
        getattr(other, f"weight_hh_l{index}").data = own["recurrent_kernel"].T
        getattr(other, f"bias_ih_l{index}").data = own["bias"]
        again = own.get("recurrent_bias", torch.zeros_like(own["bias"]))
        getattr(other, f"bias_hh_l{index}").data = again
    x = torch.tensor(np.array(params["embedding"]))[torch.tensor(np.array(tokens))]
    hidden, _ = other(x)
    kernel, bias = (np.array(params[f"lm_head_{n}"]) for n in ("kernel", "bias"))
    wanted = hidden.detach().numpy() @ kernel + bias
    logits, _ = applied(model, params, tokens)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", slow_but(CELLS, LSTM()), ids=names)
def test_no_token_sees_a_later_one(cell):
    model = small(cell)
    params, tokens = drawn(model)
    table = params["embedding"]

    def logit(changed, place):
        # One row a token, so that a gradient says which token was seen.
        rows = params | {"embedding": changed}
        wide = model.clone(vocab_size=tokens.shape[1])
        rows["lm_head_kernel"] = params["lm_head_kernel"][:, : tokens.shape[1]]
        rows["lm_head_bias"] = params["lm_head_bias"][: tokens.shape[1]]
        logits, _ = wide.apply({"params": rows}, jnp.arange(tokens.shape[1])[None])
        return logits[0, place].sum()

    gradient = jax.jit(jax.grad(logit))
    for place in (0, 3, 6):
        sizes = np.abs(gradient(table[: tokens.shape[1]], place)).sum(-1)
        assert (sizes[: place + 1] > 0).all()
        assert (sizes[place + 1 :] == 0).all()


@pytest.mark.slow
@given(cut=st.integers(1, 6), cell=st.sampled_from(CELLS), tied=st.booleans())
@settings(max_examples=6)
def test_a_carried_state_makes_parts_equal_the_whole(cut, cell, tied):
    model = small(cell, tied=tied)
    params, tokens = drawn(model)

    @jax.jit
    def read(tokens, carry):
        return model.apply({"params": params}, tokens, cache=carry)

    whole, last = read(tokens, model.empty_cache(3, 0))
    first, carry = read(tokens[:, :cut], model.empty_cache(3, 0))
    rest, carry = read(tokens[:, cut:], carry)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), whole, atol=1e-5)
    for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("cell", slow_but(CELLS, LSTM()), ids=names)
def test_segments_are_read_apart_and_padding_leaves_no_trace(cell):
    model = small(cell)
    params, tokens = drawn(model, (1, 8))
    segments = jnp.array([[1, 1, 1, 2, 2, 0, 0, 0]])
    logits, carry = model.apply(
        {"params": params}, tokens, segments=segments, cache=model.empty_cache(1, 0)
    )
    alone, after = model.apply(
        {"params": params}, tokens[:, 3:5], cache=model.empty_cache(1, 0)
    )
    np.testing.assert_allclose(logits[:, 3:5], alone, atol=1e-6)
    for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
def test_dropout_of_shared_things_is_one_for_all_rows_and_parts():
    model = small(LSTM(), dropout=Dropouts(embedding=0.5, weight=0.5))
    params, tokens = drawn(model, (4, 6))
    noise = example_keys(jax.random.key(3), jnp.arange(4))
    shared = {"shared": jax.random.key(4)}

    def logits(rows):
        return model.apply(
            {"params": params}, tokens[rows], dropout_keys=noise[rows], rngs=shared
        )[0]

    whole = logits(slice(0, 4))
    np.testing.assert_allclose(logits(slice(2, 4)), whole[2:], atol=1e-6)
    plain = model.apply({"params": params}, tokens)[0]
    assert np.abs(whole - plain).max() > 1e-3


def test_variational_dropout_drops_the_same_units_at_every_step():
    rates = Dropouts(output=0.5, variational=True)
    model = small(LSTM(), dropout=rates)
    params, tokens = drawn(model, (2, 6))
    # The readout shows the dropped units themselves.
    eye = jnp.eye(8, 11)
    params = params | {"lm_head_kernel": eye, "lm_head_bias": jnp.zeros(11)}
    noise = example_keys(jax.random.key(3), jnp.arange(2))
    units = applied(model, params, tokens, dropout_keys=noise)[0][..., :8]
    zero = np.asarray(units) == 0
    assert (zero == zero[:, :1]).all()
    assert 0 < zero.mean() < 1
    assert (zero[0, 0] != zero[1, 0]).any()


def test_penalties_are_means_over_the_tokens_that_are_read():
    model = small(LSTM(), activation_penalty=2.0, change_penalty=1.0)
    params, tokens = drawn(model, (4, 6))
    segments = jnp.ones((4, 6), jnp.int32).at[2:, 4:].set(0)
    (hidden, _), sown = model.apply(
        {"params": params},
        tokens,
        segments=segments,
        dropout_keys=example_keys(jax.random.key(3), jnp.arange(4)),
        mutable=["penalties"],
        method="features",
    )
    hidden = np.asarray(hidden, np.float64)
    for row, time in enumerate((6, 6, 4, 4)):
        read = hidden[row, :time]
        expected = {
            "activation": 2.0 * (read**2).mean(),
            "change": (np.diff(read, axis=0) ** 2).mean(),
        }
        for name, value in expected.items():
            found = sown["penalties"][name][0][row]
            np.testing.assert_allclose(found, value, rtol=1e-5)


@pytest.mark.parametrize("cell", TWO, ids=str)
def test_of_two_biases_only_the_sum_acts(cell):
    two, one = small(cell), small(dataclasses.replace(cell, biases=1))
    params, tokens = drawn(two)
    summed = {
        name: layer
        if not name.startswith("layer_")
        else {
            "input_kernel": layer["input_kernel"],
            "recurrent_kernel": layer["recurrent_kernel"],
            "bias": layer["bias"] + layer["recurrent_bias"],
        }
        for name, layer in params.items()
    }
    found, wanted = (
        m.apply({"params": p}, tokens) for m, p in ((two, params), (one, summed))
    )
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", [LSTM(biases=2), GRU()], ids=str)
def test_two_biases_begin_as_pytorchs_do(cell):
    """Two uniform numbers within 1/sqrt(200): the sum deviates by sqrt(2) more."""
    model = Recurrent(cell, layers=1, width=200, vocab_size=3)
    shapes = jnp.zeros((1, 2), jnp.int32)
    layer = model.init(jax.random.key(0), shapes)["params"]["layer_0"]
    for name in ("bias", "recurrent_bias"):
        assert np.abs(layer[name]).max() <= 200**-0.5
        assert layer[name].std() == pytest.approx(200**-0.5 / 3**0.5, rel=0.1)
    both = layer["bias"] + layer["recurrent_bias"]
    assert both.std() == pytest.approx(200**-0.5 * (2 / 3) ** 0.5, rel=0.1)


def test_one_bias_is_what_it_was():
    one = Recurrent(LSTM(), layers=1, width=8, vocab_size=3)
    two = one.clone(cell=LSTM(biases=2))
    tokens = jnp.zeros((1, 2), jnp.int32)
    first, second = (m.init(jax.random.key(0), tokens)["params"] for m in (one, two))
    assert "recurrent_bias" not in first["layer_0"]
    del second["layer_0"]["recurrent_bias"]
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.slow
def test_a_layer_begins_within_the_root_of_its_own_width():
    model = small(LSTM(), embedding_width=4, tied=True).clone(width=64)
    params, _ = drawn(model, (1, 2))
    largest = [np.abs(params[f"layer_{i}"]["recurrent_kernel"]).max() for i in (0, 1)]
    np.testing.assert_allclose(largest, [64**-0.5, 4**-0.5], rtol=0.1)


def test_problems_name_the_field():
    bad = small(LSTM(), dropout=dataclasses.replace(Dropouts(), between=1.0))
    assert "model.dropout.between=1.0" in " ".join(all_problems(bad, "model"))
    assert list(small(LSTM()).problems()) == []
