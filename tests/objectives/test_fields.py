"""Objectives use each field that they say they read, and no other; masks hide all.

One small model and batch for each objective that there is.
"""

import functools
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.data.contexts import HuffmanTree, Noise
from lm_jax.models import (
    BagOfVectors,
    BiEncoder,
    Classifier,
    ConvEncoder,
    Encoder,
    EncoderDecoder,
    GatedConv,
    GlobalVectors,
    Learned,
    Max,
    Recurrent,
    StoryReader,
    Tagger,
    Transformer,
    WordVectors,
)
from lm_jax.models.stack import initialise
from lm_jax.objectives import (
    AnswerQuestions,
    BagOfWords,
    Classify,
    CosineSimilarity,
    Distil,
    FindSpan,
    GloVe,
    Guide,
    InfoNCE,
    LabelTokens,
    MaskedPairs,
    MaskedTokens,
    NextToken,
    Objective,
    Preference,
    Regress,
    Seq2Seq,
    SkipGram,
)
from tests.first import first_params
from tests.objectives.test_word_vectors import random_batch

VOCAB, ROWS, TIME = 9, 2, 6
SMALL = {"layers": 1, "heads": 2, "width": 8, "vocab_size": VOCAB}
RANDOM = np.random.default_rng(0)


def ids(time=TIME):
    return RANDOM.integers(0, VOCAB, (ROWS, time))


def seen(*lengths, time=TIME):
    """1 up to a length of each row."""
    return (np.arange(time) < np.asarray(lengths)[:, None]).astype(np.float32)


PACKED = {
    "inputs": ids(),
    "targets": ids(),
    "mask": seen(6, 5),
    "positions": np.asarray([[0, 1, 2, 0, 1, 2], [0, 1, 0, 1, 2, 0]]),
    "segments": np.asarray([[1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 2, 0]]),
    "weight": np.asarray([5.0, 7.0], np.float32),
}
STORIES = {
    "sentences": RANDOM.integers(-1, VOCAB, (ROWS, TIME, 3)),
    **{name: PACKED[name] for name in ("targets", "positions", "segments")},
    "mask": seen(6, 5)[:, [0, 3, 1, 4, 2, 5]],
}
HIDDEN = {
    "inputs": ids(),
    "originals": ids(),
    "mask": seen(3, 2)[:, [0, 3, 1, 4, 2, 5]],
    "masked_positions": np.asarray([[0, 2, 4], [0, 2, 3]]),
    "segments": np.asarray([[1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 0, 0]]),
}
PAIRED = HIDDEN | {
    "types": np.asarray([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]]),
    "swapped": np.asarray([1, 0]),
}
TRANSLATED = {
    "source": ids(5),
    "source_mask": seen(5, 3, time=5).astype(bool),
    "decoder_inputs": ids(),
    "targets": ids(),
    "mask": seen(6, 4),
}
TOLD = {
    "inputs": ids(),
    "segments": seen(4, 6).astype(np.int32),
    "label": np.asarray([2, 0]),
    "mask": np.asarray([1.0, 0.0], np.float32),
}
RATED = {k: v for k, v in TOLD.items() if k != "label"}
RATED["value"] = np.asarray([0.5, -2.0], np.float32)
RATED_PAIRS = {
    "first_inputs": ids(),
    "first_segments": seen(4, 6).astype(np.int32),
    "second_inputs": ids(),
    "second_segments": seen(5, 3).astype(np.int32),
    "value": np.asarray([0.5, 0.2], np.float32),
    "mask": np.asarray([1.0, 0.0], np.float32),
}
ASKED = {
    "inputs": ids(),
    "segments": np.asarray([[1, 1, 2, 2, 2, 0], [1, 2, 2, 2, 2, 2]]),
    "matches": np.asarray([[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0]]),
    "start": np.asarray([2, 0]),
    "end": np.asarray([3, 0]),
    "mask": np.asarray([1.0, 0.0], np.float32),
}
TAGGED = {
    "inputs": ids(),
    "segments": seen(4, 6).astype(np.int32),
    "tags": np.asarray([[0, 2, -1, 1, -1, -1], [2, 1, 0, 0, -1, 1]]),
    "mask": np.asarray([[1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0]], np.float32),
}
PAIRS = {
    "inputs": ids(),
    "contexts": ids(),
    "counts": np.asarray([[3.0, 1, 7, 0, 2, 5], [4, 0, 1, 9, 2, 0]], np.float32),
}
ANSWERED = {
    "pair_inputs": RANDOM.integers(0, VOCAB, (ROWS, 2, TIME)),
    "pair_targets": RANDOM.integers(0, VOCAB, (ROWS, 2, TIME)),
    "pair_mask": np.asarray([seen(6, 3), seen(4, 5)]) - seen(2),
}
FOUND = {
    "query_inputs": ids(),
    "query_segments": seen(4, 6).astype(np.int32),
    "passage_inputs": RANDOM.integers(0, VOCAB, (ROWS, 2, TIME)),
    "passage_segments": np.asarray([seen(6, 3), seen(4, 5)]).astype(np.int32),
    "query": np.asarray([3, 4]),
    "passage": np.asarray([[5, 6], [7, 5]]),
    "mask": np.ones(ROWS, np.float32),
}
NOISE = random_batch(Noise(negatives=3, shared=5, group=12))
TREE = random_batch(HuffmanTree())


class Case(NamedTuple):
    objective: object
    model: object
    batch: dict


CASES = {
    "next token": Case(
        NextToken(), Transformer(**SMALL, positions=Learned(TIME)), PACKED
    ),
    "masked tokens": Case(
        MaskedTokens(), Encoder(**SMALL, positions=Learned(TIME)), HIDDEN
    ),
    "masked pairs": Case(
        MaskedPairs(),
        Encoder(**SMALL, positions=Learned(TIME), segment_types=2),
        PAIRED,
    ),
    "seq2seq": Case(Seq2Seq(), EncoderDecoder(**SMALL), TRANSLATED),
    "classify": Case(
        Classify(),
        ConvEncoder(width=8, kernels=(1, 2), maps=4, classes=3, vocab_size=VOCAB),
        TOLD,
    ),
    "classify a pooled text": Case(
        Classify(),
        Classifier(Encoder(**SMALL, positions=Learned(TIME)), classes=3),
        TOLD,
    ),
    "regress": Case(
        Regress(), Classifier(BagOfVectors(4, vocab_size=VOCAB), Max()), RATED
    ),
    "find a span": Case(
        FindSpan(),
        Tagger(Encoder(**SMALL, positions=Learned(TIME), segment_types=3)),
        ASKED,
    ),
    "label tokens": Case(
        LabelTokens(),
        Tagger(Encoder(**SMALL, positions=Learned(TIME)), classes=VOCAB),
        TAGGED,
    ),
    "answer questions": Case(
        AnswerQuestions(), StoryReader(**SMALL, positions=Learned(TIME)), STORIES
    ),
    "skip-gram": Case(SkipGram(), WordVectors(4, vocab_size=VOCAB), NOISE),
    "skip-gram in a tree": Case(SkipGram(), WordVectors(4, vocab_size=VOCAB), TREE),
    "cbow": Case(BagOfWords(), WordVectors(4, vocab_size=VOCAB), NOISE),
    "cbow in a tree": Case(BagOfWords(), WordVectors(4, vocab_size=VOCAB), TREE),
    "distil": Case(Distil(), Transformer(**SMALL, positions=Learned(TIME)), PACKED),
    "preference": Case(
        Preference(), Transformer(**SMALL, positions=Learned(TIME)), ANSWERED
    ),
    "find a passage": Case(
        InfoNCE(), BiEncoder(BagOfVectors(4, vocab_size=VOCAB)), FOUND
    ),
    "compare two texts": Case(
        CosineSimilarity(), BiEncoder(BagOfVectors(4, vocab_size=VOCAB)), RATED_PAIRS
    ),
    "glove": Case(GloVe(), GlobalVectors(4, vocab_size=VOCAB), PAIRS),
}


def arrays(batch):
    made = {name: jnp.asarray(array) for name, array in batch.items()}
    return made | {"row": jnp.arange(len(next(iter(made.values()))))}


@functools.cache
def parameters(name):
    """Random ones, so large that everything has an effect."""
    objective, model, batch = CASES[name]
    first = functools.partial(initialise, model, method=objective.predict)
    shapes = jax.eval_shape(first, jax.random.key(0), arrays(batch))
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [
        0.7 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, drawn)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sums(objective, model, params, batch):
    # A reference that differs from the model, where scores are made with one.
    other = Guide(model, jax.tree.map(lambda p: 0.9 * p, params))
    more = (None, other) if objective.guided_scores else ()
    found = objective(model, params, batch, None, *more)
    return {"loss": found.loss, "weight": found.weight} | dict(found.metrics)


def sums_of(name, **changes):
    """All sums of a case's batch, some of its fields changed."""
    objective, model, batch = CASES[name]
    own = arrays(batch | changes)
    return jax.device_get(_sums(objective, model, parameters(name), own))


def changed(field, array):
    """Another array of the same shape that means something else."""
    array = np.asarray(array)
    if array.dtype == bool:
        return array & (np.arange(array.shape[-1]) > 1)
    if field in ("noise_weight", "weight", "counts", "value"):
        return array * 2
    if field == "turns":
        return -array
    if field in ("mask", "pair_mask"):
        return array * 0 + np.arange(array.size).reshape(array.shape) % 2
    if field in ("query", "passage"):
        return array * 0
    if field.endswith("segments"):
        return np.ones_like(array)
    if field in ("types", "swapped", "matches"):
        return 1 - array
    if field in ("positions", "masked_positions"):
        return np.flip(array, -1) + (field == "masked_positions")
    return (array + 1) % (3 if field in ("label", "tags", "start", "end") else VOCAB)


def differ(a, b):
    """Whether what is minimised, or any sum, is another."""
    return any(abs(a[name] - b[name]) > 1e-3 for name in a)


def test_every_objective_has_a_case():
    assert {type(case.objective) for case in CASES.values()} == set(get_args(Objective))
    for kind in get_args(Objective):
        cases = [c for c in CASES.values() if type(c.objective) is kind]
        read = {*cases[0].objective.reads, *cases[0].objective.may_read}
        assert set().union(*(case.batch for case in cases)) == read


@pytest.mark.parametrize("name", CASES)
def test_each_field_that_is_read_counts_and_no_other(name):
    """A field that is not handed on would let texts mix, or be scored, in silence."""
    whole, batch = sums_of(name), CASES[name].batch
    for field, array in batch.items():
        assert differ(whole, sums_of(name, **{field: changed(field, array)})), field
    strange = {f: a for case in CASES.values() for f, a in case.batch.items()}
    unread = {f: a for f, a in strange.items() if f not in whole and f not in batch}
    if CASES[name].objective.reads[:2] == ("inputs", "near"):
        # Noise or a tree: either is there, and says how words are told.
        unread = {f: a for f, a in unread.items() if f not in NOISE | TREE}
    again = sums_of(name, **unread)
    assert again == whole


LEARNT = {
    "next token": "targets",
    "masked tokens": "originals",
    "masked pairs": "originals",
    "seq2seq": "targets",
    "label tokens": "tags",
    "answer questions": "targets",
}


@pytest.mark.parametrize("name", LEARNT)
def test_what_the_mask_hides_counts_in_no_sum(name):
    """Neither as a loss nor as a hit, were it foreseen or not."""
    whole, field = sums_of(name), LEARNT[name]
    batch = CASES[name].batch
    hidden = np.asarray(batch["mask"]) == 0
    assert hidden.any()
    for token in range(VOCAB):
        targets = np.where(hidden, token, batch[field])
        assert sums_of(name, **{field: targets}) == whole, token


@pytest.mark.parametrize(
    "name",
    [
        *("classify", "classify a pooled text", "regress", "compare two texts"),
        "find a span",
    ],
)
def test_a_text_that_the_mask_hides_counts_in_no_sum(name):
    whole, told = sums_of(name), CASES[name].objective.tells
    batch = CASES[name].batch
    for other in range(3):
        hidden = np.asarray([batch[told][0], other], batch[told].dtype)
        assert sums_of(name, **{told: hidden}) == whole
    assert whole["weight"] == 1


@pytest.mark.parametrize(
    "name", ["classify", "classify a pooled text", "regress", "compare two texts"]
)
def test_what_is_told_of_each_text_adds_up_to_the_sums(name):
    objective, model, batch = CASES[name]
    whole, own = sums_of(name), arrays(batch)
    told = np.asarray(objective.told(model, parameters(name), own))
    if objective.tells == "value":
        losses = np.square(told[:, 0] - batch["value"])
    else:
        np.testing.assert_allclose(np.exp(told).sum(1), 1, rtol=1e-5)
        losses = -told[np.arange(ROWS), batch["label"]]
    assert (losses * batch["mask"]).sum() == pytest.approx(whole["loss"], rel=1e-5)


DOCUMENTS = (range(1, 4), range(4, 6), range(6, 9))  # They share no token.
PACKING = {
    "transformer": Transformer(**SMALL, positions=Learned(8), tied=False),
    "recurrent": Recurrent(layers=1, width=8, vocab_size=VOCAB),
    "convolutional": GatedConv(layers=2, width=8, kernel=3, vocab_size=VOCAB),
}


def row_of(documents, time=8):
    """Documents side by side in a row; each is read from an end, 0, before it."""
    parts = [
        {
            "inputs": [0, *list(document)[:-1]],
            "targets": list(document),
            "positions": list(range(len(document))),
            "segments": [number] * len(document),
            "mask": [1.0] * len(document),
        }
        for number, document in enumerate(documents, 1)
    ]
    joined = {name: sum((part[name] for part in parts), []) for name in parts[0]}
    rest = (0, time - len(joined["inputs"]))
    made = {name: np.pad(values, rest)[None] for name, values in joined.items()}
    return arrays(made | {"mask": made["mask"].astype(np.float32)})


@pytest.mark.parametrize("name", PACKING)
def test_a_packed_row_is_its_documents_alone(name):
    """The same loss, and no document learns from what stands in another."""
    model, objective = PACKING[name], NextToken()
    packed = row_of(DOCUMENTS)
    params = first_params(model, 0, packed, method=objective.predict)
    params = jax.tree.map(lambda p: p * 10, params)

    @jax.jit
    @jax.value_and_grad
    def loss(params, batch):
        return objective(model, params, batch, None).loss

    alone = [float(loss(params, row_of([document]))[0]) for document in DOCUMENTS]
    assert float(loss(params, packed)[0]) == pytest.approx(sum(alone), rel=1e-5)
    for number, document in enumerate(DOCUMENTS, 1):
        mask = packed["mask"] * (packed["segments"] == number)
        _, gradient = loss(params, packed | {"mask": mask})
        read = np.abs(gradient["embedding"]).sum(-1) > 0
        assert set(np.flatnonzero(read)) == {0, *list(document)[:-1]}
