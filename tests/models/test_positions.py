"""Biases of the scores: published slopes and buckets, and what they reach."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.bounds import all_problems
from lm_jax.models import (
    ALiBi,
    Alternating,
    Encoder,
    KerpleLog,
    LinearScaling,
    Llama3Scaling,
    Relative,
    Rotary,
    Sinusoidal,
    Transformer,
    YaRN,
)
from lm_jax.models.block import Block
from lm_jax.models.config import BlockConfig
from lm_jax.models.part import BlockPart
from lm_jax.models.positions import _slopes
from lm_jax.models.stack import stack_blocks
from tests.properties import quick, slow_but

HERE = jnp.arange(6)[None]


def test_slopes_are_the_papers():
    """Press et al. 2022: 1/2 ... 1/256 for 8 heads; 12 heads take 4 of 16's."""
    assert _slopes(8) == [2.0**-n for n in range(1, 9)]
    assert _slopes(16)[:4] == [2**-0.5, 2**-1, 2**-1.5, 2**-2]
    assert _slopes(12) == _slopes(8) + _slopes(16)[:8:2]


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 20])
def test_there_is_one_falling_slope_a_head(heads):
    slopes = _slopes(heads)
    assert len(slopes) == heads == len(set(slopes)) and max(slopes) < 1


def test_alibi_falls_with_the_distance():
    bias = ALiBi().bias(Block(BlockConfig(heads=8)), HERE, HERE)
    np.testing.assert_allclose(bias[0, 0, 5], -np.arange(5, -1, -1) / 2)
    np.testing.assert_allclose(bias[0, 7, 5], -np.arange(5, -1, -1) / 256, rtol=1e-6)


class Scores(BlockPart):
    """What positions add to the scores of six tokens."""

    @nn.compact
    def __call__(self):
        return self.config.positions.bias(self, HERE, HERE)


def test_kerple_is_the_papers_kernel():
    """Chi et al. 2022, 4.2, from the values of the authors' code: U(0, 2), U(0, 1)."""
    scores = Scores(BlockConfig(heads=200, positions=KerpleLog()))
    bias, variables = scores.init_with_output(jax.random.key(0))
    r1, r2 = (jnp.exp(variables["params"][f"log_{r}"]) for r in ("r1", "r2"))
    for r, largest in ((r1, 2.0), (r2, 1.0)):
        assert r.min() >= 0.0099 and largest * 0.9 < r.max() < largest
        np.testing.assert_allclose(r.mean(), largest / 2, atol=0.15)
    distance = np.abs(np.arange(6)[:, None] - np.arange(6))
    r1, r2 = (r[:, None, None] for r in (r1, r2))
    np.testing.assert_allclose(bias[0], -r1 * np.log(1 + r2 * distance), rtol=1e-4)
    assert (jnp.diff(bias[0, :, 5]) > 0).all()  # nearer is higher, in each head


def bucket_of(back, buckets, farthest, causal):
    """T5's buckets for one distance (Raffel et al. 2020, 2.1), in plain Python."""
    ahead = 0
    if not causal:
        buckets //= 2
        ahead = buckets if back < 0 else 0
        back = abs(back)
    back = max(back, 0)
    exact = buckets // 2
    if back < exact:
        return ahead + back
    share = math.log(back / exact) / math.log(farthest / exact)
    return ahead + min(exact + int(share * (buckets - exact)), buckets - 1)


@settings(max_examples=60)
@given(back=st.integers(-300, 300), causal=st.booleans(), half=st.integers(2, 20))
def test_buckets_are_t5s(back, causal, half):
    # 97: no power of a ratio falls on a whole number, where float32 could differ.
    positions = Relative(2 * half, 97)
    found = int(positions.bucket(jnp.asarray(back), causal))
    assert found == bucket_of(back, 2 * half, 97, causal)


def test_t5s_own_buckets_at_their_borders():
    """32 buckets to 128: exact to 15, then the values of T5's code."""
    buckets = Relative().bucket(jnp.asarray([0, 15, 16, 19, 127, 128, 5000]), True)
    assert buckets.tolist() == [0, 15, 16, 17, 31, 31, 31]
    both = Relative().bucket(jnp.asarray([-1, 1, 7, 8, -8]), False)
    assert both.tolist() == [17, 1, 7, 8, 24]


SIZES = {"layers": 1, "heads": 2, "width": 8, "vocab_size": 7}
TOKENS = jnp.asarray([[1, 2, 3, 4, 5, 6]])


ON_SCORES = [ALiBi(), KerpleLog(), Relative(4, 6), Relative(4, 6, shared=True)]


def parameters(model, larger=20):
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]
    kernels = {"kernel", "embedding"}
    return jax.tree_util.tree_map_with_path(
        lambda path, p: p * larger if path[-1].key in kernels else p, params
    )


@pytest.mark.parametrize("positions", slow_but(ON_SCORES, Relative(4, 6)))
def test_reading_in_pieces_is_reading_at_once(positions):
    model = Transformer(**SIZES, positions=positions)
    variables = {"params": parameters(model)}
    cache, parts = model.empty_cache(1, 8), []
    run = jax.jit(model.apply)
    for start in range(0, 6, 2):
        now = slice(start, start + 2)
        part, cache = run(variables, TOKENS[:, now], HERE[:, now], cache=cache)
        parts.append(part)
    whole, _ = run(variables, TOKENS)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)


@pytest.mark.parametrize("positions", slow_but(ON_SCORES, Relative(4, 6)))
def test_biases_see_only_distances(positions):
    """Shifted positions give the same logits; packed texts those of each alone."""
    model = Transformer(**SIZES, positions=positions)
    params = parameters(model)

    @jax.jit
    def logits(tokens, **more):
        return model.apply({"params": params}, tokens, **more)[0]

    whole = logits(TOKENS)
    np.testing.assert_allclose(whole, logits(TOKENS, positions=HERE + 9), atol=1e-5)
    packed = logits(
        TOKENS,
        positions=jnp.asarray([[0, 1, 0, 1, 2, 3]]),
        segments=jnp.asarray([[1, 1, 2, 2, 2, 2]]),
    )
    np.testing.assert_allclose(packed[:, 2:], logits(TOKENS[:, 2:]), atol=1e-5)
    assert jnp.abs(whole[:, 3:] - packed[:, 3:]).max() > 1e-3


def gradient_of_attention(model):
    def loss(params):
        return jnp.square(model.apply({"params": params}, TOKENS)[0]).sum()

    gradient = jax.jit(jax.grad(loss))(parameters(model, 10))
    return gradient["block_0"]["attention"]


def test_each_head_learns_its_kernel():
    gradient = gradient_of_attention(Transformer(**SIZES, positions=KerpleLog()))
    for name in ("log_r1", "log_r2"):
        assert gradient[name].shape == (2,)
        assert (jnp.abs(gradient[name]) > 1e-4).all()


@pytest.mark.slow
def test_relative_biases_are_learnt_for_both_sides():
    model = Encoder(**SIZES, positions=Relative(4, 6), norm="rms")
    table = gradient_of_attention(model)["relative"]["embedding"]
    assert table.shape == (4, 2)
    # Bucket 2 is distance 0 ahead of itself: nothing stands there.
    assert (jnp.abs(table[jnp.array([0, 1, 3])]) > 0).all() and (table[2] == 0).all()


@pytest.mark.slow
def test_layers_that_share_a_table_have_one():
    """One table gives what the same table in each layer gives, scanned or not."""
    own = Transformer(**SIZES | {"layers": 2}, positions=Relative(4, 6))
    shared = own.clone(positions=Relative(4, 6, shared=True))
    params = parameters(shared)
    table = params["scores"]["relative"]
    assert "relative" not in params["block_0"]["attention"]
    copied = {k: v for k, v in params.items() if k != "scores"}
    for block in ("block_0", "block_1"):
        attention = {**params[block]["attention"], "relative": table}
        copied[block] = {**params[block], "attention": attention}

    def logits(model, params):
        return jax.jit(model.apply)({"params": params}, TOKENS)[0]

    found = logits(shared, params)
    np.testing.assert_allclose(found, logits(own, copied), atol=1e-5)
    scanned = logits(shared.clone(scan=True), stack_blocks(params))
    np.testing.assert_allclose(found, scanned, atol=1e-5)


def turned(positions, x, places=HERE, index=0, **config):
    block = Block(
        BlockConfig(heads=1, width=x.shape[-1], positions=positions, **config)
    )
    return positions.turn(block, x, places, index)


QUERY = jax.random.normal(jax.random.key(0), (1, 1, 6, 8))


@pytest.mark.slow
@quick
@given(
    base=st.sampled_from([10.0, 500.0, 10000.0]),
    place=st.integers(0, 300),
    half=st.integers(1, 6),
)
def test_a_pair_turns_by_its_angle_as_a_complex_number_does(base, place, half):
    """x_i + i x_{i + d/2} times e^(i m base^(-2i/d)), at position m.

    Su et al. 2021, eq. 14 and 15, with the pairs of GPT-NeoX: the two halves.
    """
    x = np.random.default_rng(half).normal(size=(1, 1, 1, 2 * half))
    angles = place * base ** (-np.arange(half) / half)
    pairs = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    found = turned(Rotary(base), jnp.asarray(x, jnp.float32), jnp.asarray([[place]]))
    expected = np.concatenate([pairs.real, pairs.imag], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_phases_are_float32_whatever_is_turned():
    """In bfloat16 this position would be another, many turns away."""
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 8)).astype(np.float32)
    place = jnp.asarray([[100_003]])
    exact = turned(Rotary(), jnp.asarray(x), place)
    found = turned(Rotary(), jnp.asarray(x, jnp.bfloat16), place)
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.03)


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoidal_waves_are_the_papers(width):
    """Sines, then cosines, of m base^(-2i/d): those of deviation 0.02 together."""
    found = Sinusoidal(50.0).embed(None, jnp.zeros((1, 6, width)), HERE)
    half = (width + 1) // 2
    angles = np.arange(6)[:, None] * 50.0 ** (-np.arange(half) / half)
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)[:, :width]
    np.testing.assert_allclose(found[0], 0.02 * math.sqrt(2) * waves, atol=1e-6)
    whole = Sinusoidal(50.0, amplitude=1.0).embed(None, jnp.ones((1, 6, width)), HERE)
    np.testing.assert_allclose(whole[0], 1 + waves, atol=1e-6)


def test_a_fraction_of_a_head_turns():
    """Its first components, as a head of their width would; the others stay."""
    found = turned(Rotary(fraction=0.5), QUERY)
    np.testing.assert_array_equal(found[..., :4], turned(Rotary(), QUERY[..., :4]))
    np.testing.assert_array_equal(found[..., 4:], QUERY[..., 4:])


def test_linear_scaling_brings_positions_nearer():
    found = turned(Rotary(scaling=LinearScaling(4.0)), QUERY, 4 * HERE)
    np.testing.assert_allclose(found, turned(Rotary(), QUERY), atol=1e-5)


def test_llama3_slows_what_is_slow():
    """Turns within 64 tokens: 10.2, 3.2, 1.02, 0.3; fast from 4, slow to 1."""
    frequencies = 100.0 ** (-jnp.arange(4) / 4)
    scaled = Llama3Scaling(8.0, length=64).scaled(frequencies, 100.0)
    ratio = np.asarray(scaled / frequencies)
    turns = 64 * np.asarray(frequencies) / (2 * math.pi)
    between = [(t - 1) / 3 + (1 - (t - 1) / 3) / 8 for t in turns[1:3]]
    np.testing.assert_allclose(ratio, [1, *between, 1 / 8], rtol=1e-5)


def test_yarn_blends_by_the_place_of_the_pair():
    """Pairs 0 and 4 / log10(10) * log10(64 / 2 pi) = 2.02, rounded up, bound it."""
    frequencies = 100.0 ** (-jnp.arange(4) / 4)
    scaled = YaRN(4.0, 64).scaled(frequencies, 100.0)
    slow = np.asarray([0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(scaled / frequencies, 1 - slow * 3 / 4, rtol=1e-5)


@pytest.mark.parametrize(("given", "factor"), [(None, 1.138629), (1.5, 1.5)])
def test_yarn_sharpens_the_scores(given, factor):
    """Queries and keys grow by 0.1 ln(4) + 1, or as told."""
    found = turned(Rotary(scaling=YaRN(4.0, 64, attention_factor=given)), QUERY)
    longer, before = (jnp.linalg.norm(x, axis=-1) for x in (found, QUERY))
    np.testing.assert_allclose(longer, before * factor, rtol=1e-5)


@pytest.mark.parametrize("traced", [False, True])
def test_layers_with_a_window_have_a_base_of_their_own(traced):
    """They are not scaled; each third layer, without a window, is."""
    far, local = Rotary(50.0, scaling=YaRN(4.0, 64)), Rotary(10.0)
    both = Rotary(50.0, scaling=YaRN(4.0, 64), local_base=10.0)

    def of_layer(index):
        return turned(both, QUERY, index=index, attention=Alternating(4, 3))

    found = [(jax.jit(of_layer) if traced else of_layer)(i) for i in range(6)]
    for index, x in enumerate(found):
        expected = turned(far if index in (2, 5) else local, QUERY)
        np.testing.assert_allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("positions", "change", "words"),
    [
        (Rotary(), {"head_dim": 7}, "a head is 7 wide"),
        (Rotary(fraction=0.1), {}, "is 0 wide. The nearest that leaves pairs: 0.25"),
        (Rotary(fraction=0.4), {}, "is 3 wide. The nearest that leaves pairs: 0.25"),
        (
            Rotary(fraction=0.0),
            {},
            "positions.fraction=0.0: give a number, more than 0",
        ),
        (
            Rotary(fraction=1.5),
            {},
            "positions.fraction=1.5: give a number, more than 0",
        ),
        (Rotary(base=1.0), {}, "positions.base=1.0: give a number, more than 1"),
        (Rotary(local_base=10.0), {}, "window, and model.attention=Full() gives none"),
        (Rotary(scaling=LinearScaling(0.0)), {}, "factor=0.0"),
        (Rotary(scaling=Llama3Scaling(low=4.0)), {}, "low=4.0"),
        (Rotary(scaling=YaRN(length=0)), {}, "length=0"),
        (Rotary(scaling=YaRN(slow=40.0)), {}, "slow=40.0"),
    ],
)
def test_what_rotary_positions_cannot_do_is_named(positions, change, words):
    fields = {"heads": 2, "width": 16, "positions": positions} | change
    (problem,) = all_problems(BlockConfig(**fields), "model")
    assert words in problem


def test_a_fraction_is_that_of_the_components():
    """Each n / dim turns n, however the division rounds."""
    for dim in range(2, 200, 2):
        for n in range(2, dim + 1, 2):
            fields = {"head_dim": dim, "positions": Rotary(fraction=n / dim)}
            assert not list(Rotary(fraction=n / dim).problems(BlockConfig(**fields)))
            assert Rotary(fraction=n / dim)._turned(dim) == n
