"""Every axis of the mesh: the losses and parameters of one device, family by family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.averages import MovingAverage
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.mesh import make_mesh
from lm_jax.models import (
    LSTM,
    ALiBi,
    Alternating,
    BiEncoder,
    Classifier,
    Encoder,
    EncoderDecoder,
    GatedConv,
    GatedLinear,
    GlobalVectors,
    MoE,
    NoPositions,
    Recurrent,
    Relative,
    Rotary,
    Tagger,
    Transformer,
    WordVectors,
)
from lm_jax.objectives import (
    BagOfWords,
    Classify,
    GloVe,
    InfoNCE,
    LabelTokens,
    MaskedTokens,
    NextToken,
    Seq2Seq,
    SkipGram,
)
from lm_jax.optimizers import SGD, transformation
from lm_jax.sharding import Sharding, on_mesh, state_shardings, to_mesh
from lm_jax.training.layout import Placed, layout
from lm_jax.training.setup import set_up
from lm_jax.training.state import first_state
from lm_jax.training.step import make_evaluation_step, make_train_step
from tests.first import first_params
from tests.objectives import test_fields as few
from tests.properties import slow_but
from tests.tiny import write_tiny

ROWS, TIME, VOCAB = 8, 8, 24
BLOCKS = {"layers": 2, "heads": 2, "width": 16, "vocab_size": VOCAB, "dropout": 0.1}
ONE = BLOCKS | {"layers": 1}
AVERAGE = MovingAverage(0.5)
FAMILIES = {
    "decoder": (
        Transformer(**BLOCKS, positions=Rotary(), attention=Alternating(window=3)),
        NextToken(),
    ),
    "experts": (
        Transformer(
            **BLOCKS,
            positions=ALiBi(),
            use_bias=True,
            scan=True,
            feedforward=MoE(experts=4, ratio=1.0),
        ),
        NextToken(),
    ),
    "layers": (
        Transformer(
            **BLOCKS | {"layers": 4},
            positions=Rotary(),
            attention=Alternating(window=3),
            feedforward=MoE(experts=2, k=1, ratio=1.0),
            scan=True,
            remat="products",
        ),
        NextToken(),
    ),
    "scanned both": (EncoderDecoder(**BLOCKS, scan=True, remat="full"), Seq2Seq()),
    "scanned encoder": (
        Encoder(**BLOCKS, positions=Relative(), scan=True),
        MaskedTokens(),
    ),
    "encoder": (Encoder(**ONE, positions=Rotary()), MaskedTokens()),
    "both": (
        EncoderDecoder(**ONE, feedforward=MoE(experts=2, k=2, ratio=1.0)),
        Seq2Seq(),
    ),
    "linear": (
        Transformer(**ONE, positions=NoPositions(), mixer=GatedLinear(chunk=3)),
        NextToken(),
    ),
    "recurrent": (Recurrent(LSTM(), 1, 16, vocab_size=VOCAB), NextToken()),
    "convolutional": (GatedConv(layers=1, width=16, vocab_size=VOCAB), NextToken()),
    "classifier": (
        Classifier(
            Encoder(**ONE, positions=Rotary(), feedforward=MoE(experts=2, ratio=1.0)),
            dropout=0.1,
            classes=3,
        ),
        Classify(mixup=0.5),
    ),
    "tagger": (
        Tagger(Transformer(**BLOCKS, positions=Rotary(), scan=True), classes=few.VOCAB),
        LabelTokens(),
    ),
    "bi-encoder": (
        BiEncoder(Encoder(**ONE, positions=Rotary()), vocab_size=VOCAB),
        InfoNCE(),
    ),
    "skip-gram": (WordVectors(16, vocab_size=VOCAB), SkipGram()),
    "cbow in a tree": (WordVectors(16, vocab_size=VOCAB), BagOfWords()),
    "glove": (GlobalVectors(16, vocab_size=VOCAB), GloVe()),
}
# Two rows of what no numbers drawn alone would make.
GIVEN = {
    "classifier": few.TOLD | {"mask": np.ones(2, np.float32)},  # padding is the last
    "tagger": few.TAGGED,
    "bi-encoder": few.FOUND,
    "skip-gram": few.NOISE,
    "cbow in a tree": few.TREE,
    "glove": few.PAIRS,
}
# Each family with the meshes that it stands for.
MESHES = {
    "data-sequence": ("decoder", Sharding(data=2, sequence=4)),
    "replica-fsdp": ("decoder", Sharding(replica=2, fsdp=4)),
    "zero1": ("decoder", Sharding(data=4, fsdp=2, rule_set="zero1")),
    "fsdp-expert-tensor": ("experts", Sharding(fsdp=2, expert=2, tensor=2)),
    "stage-data": ("layers", Sharding(stage=4, data=2)),
    "stage-fsdp-expert": ("layers", Sharding(stage=2, fsdp=2, expert=2)),
    "stage-sequence": ("scanned both", Sharding(stage=2, data=2, sequence=2)),
    "stage-replica": ("scanned encoder", Sharding(stage=2, replica=2)),
    "encoder": ("encoder", Sharding(sequence=2, tensor=2, fsdp=-1)),
    "both": ("both", Sharding(sequence=2, expert=2)),
    "linear": ("linear", Sharding(tensor=2, replica=2)),
    "recurrent": ("recurrent", Sharding(fsdp=2, tensor=2, rule_set="zero1")),
    "convolutional": ("convolutional", Sharding(sequence=4)),
    "classifier": ("classifier", Sharding(fsdp=2, expert=2, tensor=2)),
    "tagger": ("tagger", Sharding(stage=2, sequence=2, fsdp=2)),
    "bi-encoder": ("bi-encoder", Sharding(fsdp=2, sequence=2, tensor=2)),
    "skip-gram": ("skip-gram", Sharding(data=2, fsdp=4)),
    "cbow": ("cbow in a tree", Sharding(replica=2, fsdp=2, tensor=2)),
    "glove": ("glove", Sharding(fsdp=4, rule_set="zero1")),
}


def spread(given, seed):
    """As many rows as devices of two, each with words of its own."""
    made = {}
    for name, array in given.items():
        array = np.concatenate([array] * (ROWS // len(array)))
        if name.endswith("inputs") or name in ("contexts", "query", "passage"):
            row = np.arange(ROWS).reshape(-1, *[1] * (array.ndim - 1))
            array = (array + row + seed) % VOCAB
        made[name] = array
    return made


def batches(name):
    """Three batches of what a family reads, with two texts in a row where it can be."""
    if name in GIVEN:
        return [spread(GIVEN[name], seed) for seed in range(3)]
    objective, made = FAMILIES[name][1], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        names = {"inputs", "targets", "originals", "source", "decoder_inputs"}
        names &= {*objective.reads}
        batch = {
            n: rng.integers(0, VOCAB, (ROWS, TIME)).astype(np.int32) for n in names
        }
        batch["mask"] = rng.integers(0, 2, (ROWS, TIME)).astype(np.float32)
        if "segments" in objective.may_read:
            second = np.arange(TIME) >= rng.integers(2, TIME, (ROWS, 1))
            batch["segments"] = 1 + second.astype(np.int32)
        if "masked_positions" in objective.reads:
            each = np.sort(rng.permuted(np.tile(np.arange(TIME), (ROWS, 1)), axis=1))
            batch["masked_positions"] = each[:, : TIME // 2].astype(np.int32)
        made.append(batch)
    return made


@functools.cache
def start(name):
    """The step and the first state of a family."""
    model, objective = FAMILIES[name]
    example = {k: jnp.asarray(v[:1]) for k, v in batches(name)[0].items()}
    params = first_params(model, 0, example, method=objective.predict)
    rule = transformation(SGD(momentum=0.9, clip=None), lambda step: 0.05, params)
    step = make_train_step(
        model, objective, rule, lambda s: 0.05, seed=1, average=AVERAGE
    )
    return step, first_state(params, rule, AVERAGE)


def trained(name, sharding, devices):
    """Losses and the state after three steps."""
    mesh = make_mesh(sharding, jax.devices()[:devices])
    step, state = start(name)
    places = state_shardings(sharding, mesh, state)
    state = jax.device_put(state, places)
    step = jax.jit(on_mesh(step, sharding, mesh), out_shardings=(places, None))
    losses = []
    for batch in batches(name):
        state, metrics = step(state, to_mesh(batch, mesh))
        losses.append(float(metrics["loss"]))
    return losses, state


@functools.cache
def alone(name):
    return trained(name, Sharding(), 1)


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_but(MESHES, "recurrent"))
def test_devices_together_learn_what_one_does_alone(case):
    """With dropout, several texts in a row, a momentum and an average."""
    name, sharding = MESHES[case]
    expected, whole = alone(name)
    losses, state = trained(name, sharding, 8)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for part in ("params", "average", "opt_state"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
            jax.device_get(getattr(state, part)),
            jax.device_get(getattr(whole, part)),
        )


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Set the tiny experiment up on some devices, with fields of its own."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)

    def prepare(args, devices=8, name="tiny.py"):
        experiment = override(load(name).experiment, args.split(), "train")
        return set_up(experiment, jax.devices()[:devices])

    return prepare


MIXTURE = "--model.feedforward MoE --model.feedforward.experts 4"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            "--sequence 8 --data.context 20",
            "'inputs' (8, 20). The nearest .* 5 or 10; ",
        ),
        ("--sequence 8 --data.context 20", "or give texts of 16 or 24 tokens."),
        (f"--expert 8 {MIXTURE}", "expert=8 .* model.feedforward.experts=4. .* do: 4;"),
        (
            "--tensor 4",
            "tensor=4 doesn't divide model.heads=2. The nearest that do: 2;",
        ),
        ("--expert 2", "splits the experts of a mixture, and Transformer has none"),
        ("--stage 2", "stage=2 splits the layers of a scan .* Transformer has none"),
        (
            "--stage 4 --scan True --model.layers 6",
            "stage=4 doesn't divide model.layers=6. The nearest that do: 3 or 6;",
        ),
        ("--microbatches 2", "one has a single one. Leave it out, or give --stage"),
        ("--stage 2 --microbatches 3", "no multiple of sharding.stage=2. .*: 2 or 4."),
        (
            "--stage 2 --microbatches 4 --scan True",
            "8 rows .* 8 devices in 1 parts, each of 4 microbatches. .* can: 16 ",
        ),
        ("--sequence 2 --model.mixer GatedLinear", "reads them one after the other"),
    ],
)
def test_what_an_axis_can_not_split_is_said_before_anything_compiles(
    prepared, args, words
):
    with pytest.raises(UserError, match=words.replace("(8, 20)", r"\(8, 20\)")):
        prepared(args)


def test_what_reads_tokens_one_after_the_other_shares_no_text(prepared):
    with pytest.raises(UserError, match="sequence=2 .* Recurrent reads them one after"):
        prepared("--sequence 2", name="tiny.py:recurrent")
    with pytest.raises(
        UserError, match="stage=2 splits .* and Recurrent has none here"
    ):
        prepared("--stage 2", name="tiny.py:recurrent")


def test_a_layout_is_of_like_layers_once_and_of_what_a_device_has(prepared):
    args = f"{MIXTURE} --model.layers 3 --expert 2 --tensor 2 --rule-set zero1"
    found = {each.name: each for each in layout(prepared(args))}
    up = ("block_0..2/up/kernel", (4, 16, 64), ("expert", "", "tensor"))
    assert found[up[0]] == Placed(*up, bytes=3 * 4 * 4 * 16 * 64 // 4)
    assert found["embedding"].spec == ("", "")


def test_layers_lie_on_their_stages(prepared):
    """Parameters and the optimizer's state of them: a half on each of two."""
    setup = prepared("--scan True --model.layers 4 --stage 2", 2)
    found = {each.name: each for each in layout(setup)}
    up = ("block_0..3/up/kernel", (16, 64), ("", ""))
    assert found[up[0]] == Placed(*up, bytes=2 * 4 * 16 * 64)
    layers = [x for x in jax.tree.leaves(setup.placed_shapes()) if x.shape[:1] == (4,)]
    assert len(layers) > 30
    for each in layers:
        assert each.sharding.shard_shape(each.shape)[0] == 2
    saved = setup.saved_shapes().params["block_1"]["up"]["kernel"]
    assert saved.sharding.shard_shape(saved.shape) == (8, 64)


@pytest.mark.slow
def test_what_was_learnt_in_stages_is_saved_and_scored_as_elsewhere(prepared):
    """Rows go through them in microbatches, or whole where these don't divide them."""
    args = "--scan True --model.layers 4"
    one, many = prepared(args, 1), prepared(f"{args} --stage 2 --microbatches 4", 2)
    step = make_evaluation_step(many.model, NextToken())
    states = [each.first_state() for each in (one, many)]
    saved = many.to_saved(states[1])
    again = many.from_saved(saved).params, one.to_saved(states[0]).params
    for both in zip(again, (states[0].params, saved.params), strict=True):
        jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, both))
    for rows in (8, 6):
        batch = {k: v[:rows] for k, v in one.order.batch(0).items()}
        found = [
            jax.jit(each.on_mesh(step))(state.params, to_mesh(batch, each.mesh), None)
            for each, state in zip((one, many), states, strict=True)
        ]
        np.testing.assert_allclose(*(f[0]["nats"] for f in found), rtol=1e-5)
