"""Rates that fall layer by layer, seen by what a step changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.adapting import layerwise_rates
from lm_jax.errors import UserError
from lm_jax.models import (
    LSTM,
    BiEncoder,
    Classifier,
    EncoderDecoder,
    EncoderFields,
    Learned,
    NoPositions,
    Recurrent,
    Transformer,
)
from lm_jax.models.stack import initialise, stack_blocks
from lm_jax.optimizers import SGD, AdamW, transformation
from lm_jax.selectors import parted, path_name, select

MODEL = Transformer(
    layers=3, heads=2, width=8, vocab_size=11, positions=Learned(4), tied=False
)


def shapes(model=MODEL):
    tokens = jnp.zeros((1, 4), jnp.int32)
    return jax.eval_shape(lambda: initialise(model, jax.random.key(0), tokens))


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_an_update_shrinks_by_the_factor_with_each_layer_below(optimizer):
    """Where every gradient is 1: the last block's is half of what stands above it."""
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes())
    rates = layerwise_rates(MODEL, 0.5)
    value = optimizer(rates=rates, clip=None, weight_decay=0.0)
    rule = transformation(value, lambda step: 0.1, ones)
    updates, _ = rule.update(ones, rule.init(ones), ones, norm=jnp.ones(()))
    sizes = {"lm_head/": 1, "norm/": 1, "block_2/": 2, "block_1/": 4, "block_0/": 8}
    sizes |= {"embedding": 16, "positions/": 16}
    for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
        (wanted,) = (n for name, n in sizes.items() if path_name(path).startswith(name))
        np.testing.assert_allclose(leaf, -0.1 / wanted, rtol=1e-5)


def test_a_tenth_block_is_not_the_first():
    deep = MODEL.clone(layers=11)
    rates = select(layerwise_rates(deep, 0.9), shapes(deep), "optimizer.rates")
    for layer in (0, 1, 10):
        found = rates[f"block_{layer}"]["up"]["kernel"]
        assert found == pytest.approx(0.9 ** (11 - layer))


def test_each_stack_falls_from_its_own_last_layer_and_each_tower_too():
    tokens, deep = jnp.zeros((1, 4), jnp.int32), EncoderFields(layers=3)
    small = {"layers": 1, "heads": 2, "width": 8, "vocab_size": 11}
    both = EncoderDecoder(
        **small, positions=Learned(4), embedding_norm=True, encoder=deep
    )
    made = jax.eval_shape(lambda: both.init(jax.random.key(0), tokens, source=tokens))
    found = select(layerwise_rates(both, 0.5), made["params"], "optimizer.rates")
    wanted = {"embedding": 16, "source/": 16, "target/": 16, "decoder_block_0/": 2}
    wanted |= {f"encoder_block_{i}/": 2 ** (3 - i) for i in range(3)}
    for path, rate in jax.tree_util.tree_leaves_with_path(found):
        name = path_name(path)
        sizes = [n for begin, n in wanted.items() if name.startswith(begin)]
        assert rate == 1 / (*sizes, 1)[0], name

    body = Transformer(**small, positions=NoPositions())
    towers = BiEncoder(body=body, towers="apart")
    made = jax.eval_shape(
        lambda: towers.init(
            jax.random.key(0),
            method=lambda m: (m.query_vectors(tokens), m.passage_vectors(tokens)),
        )
    )
    found = select(layerwise_rates(towers, 0.5), made["params"], "optimizer.rates")
    for tower in found.values():
        assert tower["embedding"] == 0.25 and tower["norm"]["scale"] == 1
        assert tower["block_0"]["up"]["kernel"] == 0.5


def test_what_is_frozen_may_have_a_rate_and_what_is_not_there_none():
    every = shapes()
    frozen = select((("embedding$|block_0/", True), (".*", False)), every, "frozen")
    trained = parted(every, frozen)[1]

    def rule(rates):
        return transformation(SGD(rates=rates), lambda step: 0.1, trained, known=every)

    rule(layerwise_rates(MODEL, 0.5))
    with pytest.raises(UserError, match="'block_3/' in optimizer.rates matches no"):
        rule(layerwise_rates(MODEL.clone(layers=4), 0.5))


def test_the_layers_of_a_scan_learn_at_one_rate():
    scanned = jax.eval_shape(stack_blocks, shapes())
    with pytest.raises(UserError, match="Leave scan out"):
        select(layerwise_rates(MODEL, 0.9), scanned, "optimizer.rates")


@pytest.mark.parametrize("model", [Recurrent(LSTM()), Classifier(Recurrent(LSTM()))])
def test_a_model_without_blocks_is_refused(model):
    with pytest.raises(UserError, match="has no blocks"):
        layerwise_rates(model)


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.5, float("nan")])
def test_a_factor_that_slows_nothing_down_is_refused(factor):
    with pytest.raises(UserError, match=f"a factor of {factor}"):
        layerwise_rates(MODEL, factor)
