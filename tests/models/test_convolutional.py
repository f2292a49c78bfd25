"""Convolutional models: what they see, parts equal to the whole, PyTorch's values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.bounds import all_problems
from lm_jax.models import ConvEncoder, GatedConv
from lm_jax.models.dropout import example_keys

BOTTLENECKS = (None, 3)


def small(bottleneck=None, **fields):
    sizes = {"layers": 2, "width": 8, "kernel": 3, "vocab_size": 11}
    return GatedConv(bottleneck=bottleneck, **(sizes | fields))


@functools.partial(jax.jit, static_argnames=("model", "method"))
def read(model, params, tokens, **given):
    """Compiled whole: much faster than one operation after the other."""
    return model.apply({"params": params}, tokens, **given)


def drawn(model, shape=(3, 7), seed=0):
    """Give parameters large enough to tell right from wrong, and tokens."""
    key, token = jax.random.key(0), jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(model.init, key, token)["params"]
    normal = np.random.default_rng(1).normal
    params = jax.tree.map(lambda p: normal(0, 0.5, p.shape).astype("f4"), shapes)
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, shape, np.int32)
    return params, tokens


def same(found, wanted, atol=1e-5):
    for f, w in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(f, w, atol=atol)


@pytest.mark.parametrize(
    ("layers", "kernel", "bottleneck"), [(1, 2, None), (2, 3, 3), (3, 2, None)]
)
def test_a_token_sees_itself_and_layers_times_kernel_less_one_before(
    layers, kernel, bottleneck
):
    time, place = 10, 8
    model = small(bottleneck, layers=layers, kernel=kernel, vocab_size=time)
    params, _ = drawn(model)

    def logit(table):
        # One row of the table a token, so that a gradient says what was seen.
        own = {"params": params | {"embedding": table}}
        return model.apply(own, jnp.arange(time)[None])[0][0, place].sum()

    seen = np.abs(jax.jit(jax.grad(logit))(params["embedding"])).sum(-1) > 0
    first = place - layers * (kernel - 1)
    assert list(np.flatnonzero(seen)) == list(range(first, place + 1))


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_equals_pytorch(bottleneck):
    torch = pytest.importorskip("torch")
    model = small(bottleneck)
    params, tokens = drawn(model)
    own = jax.tree.map(lambda p: torch.tensor(np.array(p)), params)

    def gated(x, unit, kernel):
        def convolution(name):
            matrix, bias = unit[name]["kernel"], unit[name]["bias"]
            weight = matrix.reshape(kernel, -1, len(bias)).permute(2, 1, 0)
            return torch.nn.functional.conv1d(x, weight, bias)

        both = torch.cat([convolution("value"), convolution("gate")], 1)
        return torch.nn.functional.glu(both, 1)

    x = own["embedding"][torch.tensor(np.array(tokens))].mT
    for index in range(2):
        block = own[f"block_{index}"]
        h = gated(x, block["narrow"], 1) if bottleneck else x
        h = gated(torch.nn.functional.pad(h, (2, 0)), block["convolution"], 3)
        x = x + (gated(h, block["widen"], 1) if bottleneck else h)
    wanted = x.mT @ own["lm_head"]["kernel"]
    logits, _ = read(model, params, tokens)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@given(cuts=st.sets(st.sampled_from([1, 3])), bottleneck=st.sampled_from(BOTTLENECKS))
@settings(max_examples=8)
def test_a_carried_cache_makes_parts_equal_the_whole(cuts, bottleneck):
    model = small(bottleneck)
    params, tokens = drawn(model, (3, 5))
    whole, _ = read(model, params, tokens)
    cache, parts = model.empty_cache(3, 0), []
    for part in np.split(np.asarray(tokens), sorted(cuts), axis=1):
        logits, cache = read(model, params, part, cache=cache)
        parts.append(logits)
    same(np.concatenate(parts, 1), whole)


@pytest.mark.slow
@given(
    lengths=st.lists(st.sampled_from([0, 1, 4]), min_size=3, max_size=3),
    bottleneck=st.sampled_from(BOTTLENECKS),
)
@settings(max_examples=8)
def test_padding_leaves_no_trace_in_ragged_rows(lengths, bottleneck):
    model = small(bottleneck)
    params, tokens = drawn(model, (3, 6))
    _, past = drawn(model, (3, 6), seed=5)
    _, cache = read(model, params, past, cache=model.empty_cache(3, 0))
    segments = (np.arange(6) < np.array(lengths)[:, None]).astype(np.int32)
    logits, after = read(model, params, tokens, segments=segments, cache=cache)
    for row, length in enumerate(lengths):
        alone = jax.tree.map(lambda part: part[row : row + 1], cache)  # noqa: B023
        if length:
            wanted, alone = read(
                model, params, tokens[row : row + 1, :length], cache=alone
            )
            same(logits[row, :length], wanted[0])
        same([part[row] for part in after], [part[0] for part in alone])


@pytest.mark.parametrize("segments", [[1, 1, 2, 2, 3, 0, 0], [1, 2, 2, 1, 1, 1, 1]])
@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_segments_are_read_apart(segments, bottleneck):
    model = small(bottleneck)
    params, tokens = drawn(model, (1, 7))
    _, cache = read(model, params, tokens, cache=model.empty_cache(1, 0))
    logits, after = read(
        model, params, tokens, segments=np.array([segments]), cache=cache
    )
    borders = np.flatnonzero(np.diff(segments)) + 1
    starts, ends = [0, *borders], [*borders, len(segments)]
    for start, end in zip(starts, ends, strict=True):
        if segments[start]:
            before = cache if start == 0 else model.empty_cache(1, 0)
            alone, last = read(model, params, tokens[:, start:end], cache=before)
            same(logits[:, start:end], alone)
    same(after, last)


def test_without_a_cache_none_comes_back_and_logits_are_of_the_features():
    model = small(tied=True)
    params, tokens = drawn(model)
    logits, cache = read(model, params, tokens)
    hidden, _ = read(model, params, tokens, method="features")
    assert cache is None
    same(hidden @ params["embedding"].T, logits)


def test_in_bfloat16_logits_stay_near_and_the_cache_keeps_its_type():
    model = small(3)
    params, tokens = drawn(model)
    wanted, _ = read(model, params, tokens)
    half = small(3, dtype="bfloat16")
    empty = half.empty_cache(3, 0)
    found, cache = read(half, params, tokens, cache=empty)
    assert found.dtype == jnp.float32
    assert [part.dtype for part in cache] == [part.dtype for part in empty]
    np.testing.assert_allclose(found, wanted, atol=0.03)


def test_dropout_belongs_to_the_example():
    model = small(dropout=0.5)
    params, tokens = drawn(model, (4, 6))
    noise = example_keys(jax.random.key(3), jnp.arange(4))
    whole = read(model, params, tokens, dropout_keys=noise)[0]
    part = read(model, params, tokens[2:], dropout_keys=noise[2:])[0]
    same(part, whole[2:])
    assert np.abs(whole - read(model, params, tokens)[0]).max() > 1e-3


@pytest.mark.slow
def test_blocks_keep_the_size_of_what_they_read_at_first():
    model = GatedConv(layers=4, width=64, kernel=4, bottleneck=32, vocab_size=50)
    tokens = jax.random.randint(jax.random.key(0), (4, 32), 0, 50)
    first = jax.jit(model.init)(jax.random.key(1), tokens)
    hidden, _ = model.apply(first, tokens, method="features")
    embedded = np.asarray(first["params"]["embedding"])[tokens]
    # Each block adds 1 / (2 * layers) of the variance.
    found = np.std(hidden) / np.std(embedded)
    assert found == pytest.approx((1 + 1 / 8) ** 2, rel=0.15)


def test_flops_are_six_for_each_kernel_entry():
    for bottleneck in BOTTLENECKS:
        model = small(bottleneck)
        params, _ = drawn(model)
        flat = jax.tree_util.tree_leaves_with_path(params)
        entries = sum(leaf.size for path, leaf in flat if path[-1].key == "kernel")
        assert model.flops_per_token(7) == 6 * entries


def test_problems_name_the_field():
    assert list(small().problems()) == []
    for field, value in {"kernel": 1, "bottleneck": 0, "dropout": 1.0}.items():
        [problem] = all_problems(small(**{field: value}), "model")
        assert f"model.{field}={value}" in problem
    assert "model.layers" in " ".join(all_problems(small(layers=0), "model"))


def sentences(**fields):
    model = ConvEncoder(**({"width": 5, "maps": 4, "vocab_size": 11} | fields))
    return model, *drawn(model, (3, 9))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("length", [1, 2, 4, 9])
def test_a_sentence_vector_equals_pytorchs(length, wide):
    torch = pytest.importorskip("torch")
    model, params, tokens = sentences(wide=wide)
    own = jax.tree.map(lambda p: torch.tensor(np.array(p)), params)
    x = own["embedding"][torch.tensor(np.array(tokens[:, :length]))].mT
    wanted = []
    for kernel in (3, 4, 5):
        unit = own[f"filters_{kernel}"]
        weight = unit["kernel"].reshape(kernel, 5, 4).permute(2, 1, 0)
        around = (kernel - 1,) * 2 if wide else (0, max(0, kernel - length))
        filled = torch.nn.functional.pad(x, around)
        answers = torch.nn.functional.conv1d(filled, weight, unit["bias"])
        wanted.append(torch.relu(answers).amax(-1))
    found = read(model, params, tokens[:, :length])
    np.testing.assert_allclose(found, torch.cat(wanted, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@given(lengths=st.lists(st.sampled_from([0, 1, 4, 9]), min_size=3, max_size=3))
@settings(max_examples=6)
def test_padding_changes_no_sentence(wide, lengths):
    model, params, tokens = sentences(classes=3, wide=wide)
    segments = (np.arange(9) < np.array(lengths)[:, None]).astype(np.int32)
    found = read(model, params, tokens, segments=segments)
    assert np.isfinite(found).all()
    for row, length in enumerate(lengths):
        if length:
            alone = read(model, params, tokens[row : row + 1, :length])
            same(found[row], alone[0])


def test_classes_are_told_from_the_dropped_vector():
    model, params, tokens = sentences(classes=3)
    vectors = read(model.clone(classes=0), params, tokens)
    assert vectors.shape == (3, 12)
    layer = params["lm_head"]
    logits = read(model, params, tokens)
    same(logits, vectors @ layer["kernel"] + layer["bias"])
    noise = example_keys(jax.random.key(3), jnp.arange(3))
    dropped = read(model.clone(classes=0), params, tokens, dropout_keys=noise)
    kept = np.asarray(dropped != 0)
    assert 0 < kept.mean() < np.mean(vectors != 0)
    same(np.where(kept, dropped, 0), np.where(kept, 2 * vectors, 0))
    same(
        read(model, params, tokens, dropout_keys=noise),
        dropped @ layer["kernel"] + layer["bias"],
    )


def test_problems_of_the_encoder_name_the_field():
    assert list(sentences()[0].problems()) == []
    for field, value in {"kernels": (3, 3), "classes": -1, "dropout": 1.0}.items():
        [problem] = all_problems(ConvEncoder(**{field: value}), "model")
        assert f"model.{field}={value}" in problem
    assert "model.kernels" in " ".join(ConvEncoder(kernels=()).problems())
