"""What a step needs on each device, whatever the number of devices."""

import jax
import jax.numpy as jnp
import pytest

from lm_jax.mesh import make_mesh
from lm_jax.models import (
    LSTM,
    ConvEncoder,
    Encoder,
    EncoderDecoder,
    Gated,
    GatedConv,
    GatedLinear,
    MoE,
    NoPositions,
    Recurrent,
    Rotary,
    Transformer,
)
from lm_jax.models.stack import initialise
from lm_jax.objectives import Classify, MaskedTokens, NextToken, Seq2Seq
from lm_jax.optimizers import AdamW, transformation
from lm_jax.sharding import (
    Sharding,
    batch_sharding,
    batch_ways,
    on_mesh,
    state_shardings,
)
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step
from tests.properties import slow_but

TIME, WIDTH = 32, 64
SIZES = {"vocab_size": 256, "width": WIDTH, "layers": 2}
HEADS = SIZES | {"heads": 8, "positions": Rotary()}
FAMILIES = {
    "decoder": (Transformer(**HEADS, feedforward=Gated(), tied=False), NextToken()),
    "scanned": (Transformer(**HEADS, scan=True, remat="full"), NextToken()),
    "experts": (Transformer(**HEADS, feedforward=MoE(experts=8)), NextToken()),
    "linear": (
        Transformer(**HEADS | {"positions": NoPositions()}, mixer=GatedLinear()),
        NextToken(),
    ),
    "encoder": (Encoder(**HEADS), MaskedTokens()),
    "both": (EncoderDecoder(**HEADS), Seq2Seq()),
    "recurrent": (Recurrent(LSTM(), **SIZES), NextToken()),
    "convolutional": (GatedConv(**SIZES), NextToken()),
    "classifier": (
        ConvEncoder(width=WIDTH, maps=64, vocab_size=256, classes=8),
        Classify(),
    ),
}


def fields(objective, rows):
    """The arrays of a batch that an objective reads."""
    shapes = {
        "inputs": ((rows, TIME), "int32"),
        "targets": ((rows, TIME), "int32"),
        "originals": ((rows, TIME), "int32"),
        "source": ((rows, TIME), "int32"),
        "decoder_inputs": ((rows, TIME), "int32"),
        "segments": ((rows, TIME), "int32"),
        "masked_positions": ((rows, TIME // 4), "int32"),
        "label": ((rows,), "int32"),
        "mask": ((rows, TIME), "float32"),
    }
    if isinstance(objective, Classify):
        shapes["mask"] = ((rows,), "float32")
    return {name: shapes[name] for name in objective.reads}


def temporaries(model, objective, sharding, devices, rows):
    """Bytes of a step on each device, beside its arguments."""
    mesh = make_mesh(sharding, jax.devices()[:devices])
    example = {n: jnp.zeros(s, d) for n, (s, d) in fields(objective, 1).items()}
    key, place = jax.random.key(0), batch_sharding(mesh)
    params = jax.eval_shape(
        lambda: initialise(model, key, example, method=objective.predict)
    )
    rule = transformation(AdamW(), lambda step: 0.01, params)
    state = jax.eval_shape(lambda p: first_state(p, rule, None, None), params)
    shardings = state_shardings(sharding, mesh, state)

    def placed(shape, sharding):
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    batch = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
        for name, (shape, dtype) in fields(objective, rows * batch_ways(mesh)).items()
    }
    step = make_train_step(model, objective, rule, lambda s: 0.01, seed=0)
    step = jax.jit(
        on_mesh(step, sharding, mesh), donate_argnums=0, out_shardings=(shardings, None)
    )
    made = step.lower(jax.tree.map(placed, state, shardings), batch).compile()
    return made.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["data", "fsdp", "tensor"])
@pytest.mark.parametrize("name", FAMILIES)
def test_memory_of_a_device_does_not_grow_with_their_number(name, axis):
    """At the same rows a device; rows are enough to be most of it."""
    few, more, many = (
        temporaries(*FAMILIES[name], Sharding(**{axis: n}), n, rows=16)
        for n in (2, 4, 8)
    )
    assert max(more, many) < 1.1 * few


WORDS = SIZES | {"vocab_size": 8192, "layers": 1}
READOUTS = {
    "decoder": Transformer(**WORDS, heads=8, positions=Rotary()),
    "untied": Transformer(**WORDS, heads=8, positions=Rotary(), tied=False),
    "recurrent": Recurrent(LSTM(), **WORDS),
    "convolutional": GatedConv(**WORDS, tied=True),
}


@pytest.mark.parametrize("name", slow_but(READOUTS, "convolutional"))
def test_devices_that_share_parameters_share_the_logits(name):
    """A step keeps more than twice as much as the logits where one device has all."""
    shared = temporaries(READOUTS[name], NextToken(), Sharding(tensor=8), 8, rows=8)
    assert shared < 8 * TIME * 8192 * 4


@pytest.mark.slow
def test_memory_falls_with_the_devices_that_share_a_text():
    """At the same rows a device."""
    alone = temporaries(*FAMILIES["decoder"], Sharding(), 1, rows=16)
    shared = temporaries(*FAMILIES["decoder"], Sharding(sequence=4), 4, rows=16)
    assert shared < 0.4 * alone


@pytest.mark.slow
def test_memory_falls_with_the_stages_that_share_the_layers():
    """Of the same rows in all, though stages compute for those that are not there."""
    model, objective = FAMILIES["scanned"]
    deep = model.clone(layers=8)
    alone = temporaries(deep, objective, Sharding(), 1, rows=16)
    shared = temporaries(deep, objective, Sharding(stage=4), 4, rows=4)
    assert shared < 0.5 * alone
