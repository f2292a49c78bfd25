"""The loss in pieces is the loss of the whole, and its logits are never all there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.kernels import loss
from lm_jax.kernels.loss import cross_entropy, in_pieces, nats_in_pieces, pieces_of
from lm_jax.mesh import make_mesh
from lm_jax.models import Encoder, EncoderDecoder, Recurrent, Rotary, Transformer
from lm_jax.objectives import MaskedTokens, NextToken, Seq2Seq
from lm_jax.sharding import Sharding, on_mesh
from tests.first import first_params
from tests.properties import quick, slow_but

ROWS, TIME, VOCAB = 2, 12, 11


@pytest.mark.parametrize("by_index", [True, False])
def test_nats_and_normalisers_are_optaxs_and_so_are_their_gradients(by_index):
    """Of small logits and large ones, and of a target that is the least likely.

    On a mesh of a CPU the target is looked up; where no mesh is known, compared.
    """
    logits = jax.random.normal(jax.random.key(0), (3, 5, VOCAB)) * 30
    targets = jax.random.randint(jax.random.key(1), (3, 5), 0, VOCAB)
    targets = targets.at[0, 0].set(logits[0, 0].argmin())

    def reference(logits):
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return nats, jax.nn.logsumexp(logits, axis=-1)

    gradient = tuple(jax.random.normal(jax.random.key(2), (2, 3, 5)))

    def both(function):
        values, pull = jax.vjp(function, logits)
        return *values, *pull(gradient)

    def ours():
        return both(lambda x: cross_entropy(x, targets))

    if by_index:
        ours = on_mesh(ours, Sharding(), make_mesh(Sharding(), jax.devices()[:1]))
    program = str(jax.make_jaxpr(ours)())
    assert ("scatter-add" in program) == ("gather" in program) == by_index
    for a, b in zip(ours(), both(reference), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@quick
@given(
    rows=st.integers(1, 64),
    time=st.integers(1, 4096),
    vocab=st.sampled_from([2, 1000, 50_257, 2**20]),
)
def test_pieces_are_small_and_few_whatever_the_context(rows, time, vocab):
    """They divide it where twice as many as are needed can."""
    pieces = pieces_of(rows, time, vocab)
    assert rows * -(-time // pieces) * vocab <= loss.PIECE or pieces == time
    fewest = next(
        n
        for n in range(1, time + 1)
        if rows * -(-time // n) * vocab <= loss.PIECE or n == time
    )
    assert fewest <= pieces < 2 * fewest
    even = [n for n in range(fewest, 2 * fewest) if time % n == 0]
    assert pieces == min([*even, *([] if even else [fewest])])


def test_a_prime_context_is_cut_like_its_neighbours():
    """Not token by token: 1,021 is prime."""
    assert pieces_of(12, 1021, 50_257) == 10
    assert pieces_of(12, 1020, 50_257) == 10


SIZES = {"layers": 1, "width": 16, "vocab_size": VOCAB}
HEADS = SIZES | {"heads": 2, "positions": Rotary(), "dropout": 0.1}
CASES = {
    "tied": (Transformer(**HEADS, logit_softcap=3.0), NextToken(z_loss=0.1)),
    "untied": (Transformer(**HEADS, tied=False, dtype="bfloat16"), NextToken()),
    "recurrent": (Recurrent(**SIZES), NextToken(z_loss=0.1)),
    "masked": (Encoder(**HEADS), MaskedTokens()),
    "smoothed": (EncoderDecoder(**HEADS), Seq2Seq(label_smoothing=0.1)),
}


def batch_of(objective):
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, VOCAB, (6, ROWS, TIME)).astype(np.int32)
    names = ("inputs", "targets", "originals", "source", "decoder_inputs")
    batch = dict(zip(names, tokens, strict=False))
    batch["mask"] = draw.integers(0, 2, (ROWS, TIME)).astype(np.float32)
    batch["masked_positions"] = np.tile(np.arange(0, TIME, 2, dtype=np.int32), (2, 1))
    batch = {n: a for n, a in batch.items() if n in {*objective.reads, "mask"}}
    return {n: jnp.asarray(a) for n, a in batch.items()} | {"row": jnp.arange(ROWS)}


def value_and_gradients(model, objective, batch, key):
    params = first_params(
        model, 0, {k: v[:1] for k, v in batch.items()}, method=objective.predict
    )

    def value(params):
        sums = objective(model, params, batch, key)
        return sums.loss, sums.metrics

    return jax.jit(jax.value_and_grad(value, has_aux=True))(params)


@pytest.mark.parametrize("name", slow_but(CASES, "tied"))
def test_pieces_give_the_sums_and_gradients_of_the_whole(name, monkeypatch):
    model, objective = CASES[name]
    batch, key = batch_of(objective), jax.random.key(3)
    whole = value_and_gradients(model, objective, batch, key)
    monkeypatch.setattr(loss, "PIECE", 2 * VOCAB * ROWS)
    assert pieces_of(ROWS, TIME, VOCAB) == 6
    pieces = value_and_gradients(model, objective, batch, key)
    tolerance = 2e-2 if model.dtype == "bfloat16" else 1e-5
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=tolerance),
        whole,
        pieces,
    )


def test_the_gradient_is_that_of_the_sums_however_they_are_used():
    """Parameters from outside, and a loss that is multiplied afterwards."""
    hidden, kernel = (
        jax.random.normal(jax.random.key(k), shape)
        for k, shape in enumerate([(2, 6, 4), (4, VOCAB)])
    )
    targets = jnp.arange(12).reshape(2, 6) % VOCAB

    def plain(hidden, kernel):
        return 3.0 * cross_entropy(hidden @ kernel, targets)[0].sum()

    def cut(hidden, kernel):
        def of_piece(hidden, targets):
            nats = cross_entropy(hidden @ kernel, targets)[0].sum()
            return nats, {"nats": nats}

        return 3.0 * in_pieces(of_piece, hidden, targets, vocab_size=VOCAB)[0]

    found, expected = (jax.grad(f, (0, 1))(hidden, kernel) for f in (cut, plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def sums_of(time, size):
    """Sums and gradients of both ways to go piece by piece, and of the whole.

    Args:
        time: tokens of a row.
        size: how many of them a piece has at most.
    """
    draw = np.random.default_rng(time)
    hidden, kernel, bias = (draw.normal(size=s) for s in [(2, time, 4), (4, 3), 3])
    targets, mask = (jnp.asarray(draw.integers(0, n, (2, time))) for n in (3, 2))
    mask = mask.astype(jnp.float32)

    def logits_of(kernel, hidden):
        return hidden @ kernel + bias

    def of_piece(kernel, hidden, targets, mask):
        nats = cross_entropy(logits_of(kernel, hidden), targets)[0]
        return (nats * mask).sum(), {"words": mask.sum()}

    def summed(kernel, hidden):
        function = functools.partial(of_piece, kernel)
        return in_pieces(function, hidden, targets, mask, vocab_size=3)

    def told(kernel, hidden):
        logits = functools.partial(logits_of, kernel)
        nats = nats_in_pieces(logits, hidden, targets, 3)
        return (nats * mask).sum(), {"words": mask.sum()}

    def whole(kernel, hidden):
        return of_piece(kernel, hidden, targets, mask)

    def all_ways(*arrays):
        ways = (summed, told, whole)
        return [jax.value_and_grad(f, (0, 1), has_aux=True)(*arrays) for f in ways]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "PIECE", 2 * 3 * size)
        return jax.jit(all_ways)(kernel, hidden)


def check_padding(time, size):
    *found, whole = sums_of(time, size)
    for one in found:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            one,
            whole,
        )


def test_what_pads_the_last_piece_counts_in_no_sum_and_no_gradient():
    check_padding(13, 5)


@pytest.mark.slow
@settings(max_examples=10)
@given(time=st.integers(13, 60), size=st.integers(4, 12))
def test_nor_does_it_whatever_the_number_of_tokens(time, size):
    check_padding(time, size)


@pytest.mark.parametrize("training", [True, False])
def test_the_logits_of_a_large_vocabulary_are_never_all_there(training, monkeypatch):
    """Neither in training nor in evaluation."""
    model = Recurrent(layers=1, width=16, vocab_size=16_384)
    tokens = jnp.zeros((8, 64), jnp.int32)
    batch = {"inputs": tokens, "targets": tokens, "row": jnp.arange(8)}
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens))["params"]

    def value(params):
        key = jax.random.key(1) if training else None
        return NextToken()(model, params, batch, key).loss

    def temporaries():
        function = jax.grad(value) if training else value
        made = jax.jit(lambda params: function(params)).lower(params).compile()
        return made.memory_analysis().temp_size_in_bytes

    logits = 8 * 64 * 16_384 * 4
    assert temporaries() > logits
    monkeypatch.setattr(loss, "PIECE", 2**19)
    assert temporaries() < logits / 4


def test_a_mesh_that_splits_rows_takes_larger_pieces():
    mesh = make_mesh(Sharding(fsdp=2), jax.devices()[:2])

    def pieces():
        return pieces_of(64, 64, 2**16)

    assert pieces() == 4
    assert on_mesh(pieces, Sharding(fsdp=2), mesh)() == 2


def test_devices_that_share_a_text_have_at_least_a_token_each_in_a_piece():
    mesh = make_mesh(Sharding(sequence=2), jax.devices()[:2])
    assert on_mesh(pieces_of, Sharding(sequence=2), mesh)(2048, 64, 50_257) == 32


@pytest.mark.parametrize(("time", "pieces"), [(12, 2), (26, 4)])
def test_devices_that_share_a_text_cut_their_own_parts_of_it(time, pieces, monkeypatch):
    """Parts of 6 tokens as they are, those of 13 padded to 16."""
    monkeypatch.setattr(loss, "PIECE", 2 * 3 * 4)
    mesh = make_mesh(Sharding(sequence=2), jax.devices()[:2])
    hidden = jnp.cos(jnp.arange(2 * time * 4.0)).reshape(2, time, 4)
    kernel, targets = jnp.sin(jnp.arange(12.0)).reshape(4, 3), jnp.arange(2 * time) % 3

    def run(hidden):
        given = hidden, targets.reshape(2, time)

        def of_piece(x, t):
            return ((x @ kernel)[..., 0] * t).sum(), {}

        summed, _ = in_pieces(of_piece, *given, vocab_size=3)
        return nats_in_pieces(lambda x: x @ kernel, *given, 3), summed

    assert on_mesh(pieces_of, Sharding(sequence=2), mesh)(2, time, 3) == pieces
    together = jax.jit(on_mesh(run, Sharding(sequence=2), mesh))(hidden)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), together, run(hidden)
    )
