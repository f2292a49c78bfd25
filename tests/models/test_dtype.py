"""What a model computes in is what it says, and its logits are float32."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lm_jax.models
from lm_jax.models import (
    BiEncoder,
    BiRecurrent,
    Classifier,
    ConvEncoder,
    Encoder,
    EncoderDecoder,
    GatedConv,
    Model,
    Recurrent,
    StoryReader,
    Tagger,
    Transformer,
)
from lm_jax.models.dtype import Dtype, dtype_problems
from lm_jax.platform import products_of
from tests.programs import dots
from tests.properties import slow_but

VOCAB, WIDTH = 37, 16
BLOCKS = {"layers": 1, "heads": 2, "width": WIDTH, "vocab_size": VOCAB}
FAMILIES = {
    "decoder": Transformer(**BLOCKS),
    "decoder untied": Transformer(tied=False, logit_bias=True, **BLOCKS),
    "encoder": Encoder(**BLOCKS),
    "stories": StoryReader(**BLOCKS),
    "encoder-decoder": EncoderDecoder(**BLOCKS),
    "encoder-decoder untied": EncoderDecoder(tied=False, **BLOCKS),
    "recurrent": Recurrent(layers=1, width=WIDTH, vocab_size=VOCAB),
    "recurrent tied": Recurrent(layers=1, width=WIDTH, tied=True, vocab_size=VOCAB),
    "convolutional": GatedConv(layers=1, width=WIDTH, vocab_size=VOCAB),
    "convolutional tied": GatedConv(layers=1, width=WIDTH, tied=True, vocab_size=VOCAB),
    "classifier": ConvEncoder(
        width=8, kernels=(2,), maps=WIDTH, classes=VOCAB, vocab_size=VOCAB
    ),
}


def test_every_model_that_names_a_type_is_looked_at():
    kinds = [k for k in vars(lm_jax.models).values() if isinstance(k, type)]
    typed = {k for k in kinds if issubclass(k, Model) and hasattr(k, "dtype")}
    # No logits of tokens; those over a body have its type.
    over_body = {BiEncoder, Classifier, Tagger}
    headless = {BiRecurrent} | over_body
    assert typed - headless == {type(model) for model in FAMILIES.values()}
    body = Recurrent(width=WIDTH, vocab_size=VOCAB, dtype="bfloat16")
    assert {kind(body).dtype for kind in over_body} == {"bfloat16"}


def of_logits(model):
    """The features to logits, and parameters for it."""
    method = "class_logits" if isinstance(model, ConvEncoder) else "logits"
    shape = (2, WIDTH) if isinstance(model, ConvEncoder) else (2, 3, WIDTH)
    hidden = jax.random.normal(jax.random.key(1), shape)
    variables = model.init(jax.random.key(0), hidden, method=method)
    return lambda hidden: model.apply(variables, hidden, method=method), hidden


@pytest.mark.parametrize(
    "family", slow_but(list(FAMILIES), "decoder", "recurrent tied")
)
def test_logits_of_a_bfloat16_model_are_sums_that_were_never_rounded_to_it(family):
    """Rounded, near logits of a large vocabulary become equal."""
    logits_of, hidden = of_logits(FAMILIES[family].clone(dtype="bfloat16"))
    hidden = hidden.astype(jnp.bfloat16)
    logits = logits_of(hidden)
    assert logits.dtype == jnp.float32
    rounded = logits.astype(jnp.bfloat16).astype(jnp.float32)
    assert np.mean(np.asarray(rounded != logits)) > 0.9
    last = list(dots(jax.make_jaxpr(logits_of)(hidden)))[-1]
    assert {v.aval.dtype for v in last.invars} == {jnp.dtype(jnp.bfloat16)}
    assert last.outvars[0].aval.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_type_is_that_of_the_logits_product(family, dtype):
    """Both heads, also of one token, as in decoding."""
    expected = {"tf32": "HIGH"}.get(dtype, "HIGHEST")
    model = FAMILIES[family].clone(dtype=dtype)
    assert not [p for p in model.problems() if "dtype" in p]
    logits_of, hidden = of_logits(model)
    for tokens in (hidden, hidden[..., :1, :]):
        with products_of(model):
            found = list(dots(jax.make_jaxpr(logits_of)(tokens)))
        assert found
        for dot in found:
            assert {p.name for p in dot.params["precision"]} == {expected}


@pytest.mark.parametrize("dtype", ["float16", "fp32", "", "TF32"])
def test_a_type_that_there_is_not_is_named(dtype):
    assert list(dtype_problems(dtype)) == [
        f"model.dtype='{dtype}' is none of 'float32', 'tf32', 'bfloat16'."
    ]
    assert not any(list(dtype_problems(known)) for known in get_args(Dtype))


@pytest.mark.parametrize("time", slow_but([1, 3], 3))
@pytest.mark.parametrize(
    "family",
    slow_but(["decoder", "recurrent tied", "convolutional tied"], "convolutional tied"),
)
def test_a_tied_model_takes_parameters_of_numpy(family, time):
    """As read from a file, and applied without being compiled."""
    model = FAMILIES[family].filled(VOCAB, 4)
    tokens = jnp.zeros((1, time), jnp.int32)
    params = model.init(jax.random.key(0), tokens)["params"]
    expected, _ = model.apply({"params": params}, tokens)
    plain = {"embedding": np.asarray(params["embedding"])}
    if family != "recurrent tied":  # whose cells are annotated for jax's arrays alone
        plain = jax.tree.map(np.asarray, params)
    found, _ = model.apply({"params": params | plain}, tokens)
    np.testing.assert_array_equal(found, expected)
