import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.generation import Sampling, sample
from lm_jax.generation.sampling import check_seed

# Token 4 is the likeliest, then 1 and 6, which are equal.
LOGITS = np.array([0.1, 1.0, -1.0, 0.5, 2.0, -3.0, 1.0])
DRAWS = 20_000

draw = jax.jit(sample, static_argnums=2)


def many(logits, sampling, draws=DRAWS):
    """Draw from the same logits with many keys."""
    keys = jax.random.split(jax.random.key(0), draws)
    logits = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (draws, len(logits)))
    return np.asarray(draw(logits, keys, sampling))


def distribution(logits, sampling, slack=0.0):
    """What `sample` should draw from, by the definitions and in float64."""
    vocab = len(logits)
    if sampling.temperature == 0:
        return np.eye(vocab)[np.argmax(logits)]
    p = np.exp((logits - logits.max()) / sampling.temperature)
    likelier = np.argsort(-p, kind="stable")
    kept = np.zeros(vocab, bool)
    kept[likelier[: sampling.top_k]] = True
    p = np.where(kept, p, 0) / p[kept].sum()
    if sampling.top_p is not None:
        count = 1
        while count < vocab and p[likelier[:count]].sum() < sampling.top_p + slack:
            count += 1
        kept[likelier[count:]] = False
    if sampling.min_p is not None:
        kept &= p >= sampling.min_p * p.max() - slack
    return np.where(kept, p, 0) / p[kept].sum()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.0, top_k=3),
        Sampling(temperature=0.5),
        Sampling(temperature=3.0),
        Sampling(top_k=1),
        Sampling(top_k=2),
        Sampling(top_k=3),
        Sampling(top_k=7),
        Sampling(top_k=200),
        Sampling(top_p=1e-6),
        Sampling(top_p=0.5),
        Sampling(top_p=0.9),
        Sampling(top_p=1.0),
        Sampling(min_p=0.0),
        Sampling(min_p=0.2),
        Sampling(min_p=1.0),
        Sampling(temperature=0.7, top_k=5, top_p=0.9),
        Sampling(temperature=2.0, top_k=6, top_p=0.95, min_p=0.3),
    ],
    ids=str,
)
def test_frequencies_are_those_of_the_cut_distribution(sampling):
    expected = distribution(LOGITS, sampling)
    drawn = np.bincount(many(LOGITS, sampling), minlength=len(LOGITS)) / DRAWS
    assert ((drawn > 0) == (expected > 0)).all()
    error = np.sqrt(expected * (1 - expected) / DRAWS)
    assert (np.abs(drawn - expected) <= 4 * error).all(), (drawn, expected)


@pytest.mark.parametrize("mass, size", [(0.24, 1), (0.26, 2), (0.49, 2), (0.51, 3)])
def test_top_p_keeps_the_fewest_tokens_that_hold_the_mass(mass, size):
    drawn = many(np.zeros(4), Sampling(top_p=mass), draws=500)
    assert set(drawn.tolist()) == set(range(size))


def test_top_p_of_one_keeps_what_rounding_would_lose(monkeypatch):
    logits = jnp.array([[0.0] + [-17.0] * 8 + [-25.0]])
    probabilities = jax.nn.softmax(logits)[0]
    assert jnp.cumsum(probabilities)[-1] - probabilities[-1] >= 1
    # All luck to the last token, drawn once in many billions without it.
    luck = jnp.zeros(10).at[9].set(100.0)
    monkeypatch.setattr(jax.random, "gumbel", lambda key, shape: luck)
    keys = jax.random.split(jax.random.key(0), 1)
    assert sample(logits, keys, Sampling(top_p=1.0)).tolist() == [9]
    assert sample(logits, keys, Sampling(top_p=0.99)).tolist() == [0]


def test_greedy_takes_the_first_of_equals_and_needs_no_luck():
    logits = jnp.array([[0.0, 2.0, 2.0], [5.0, 5.0, 5.0]])
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 2)
        assert sample(logits, keys, Sampling(temperature=0.0)).tolist() == [1, 0]
        assert sample(logits, keys, Sampling(top_k=1)).tolist() == [1, 0]


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    logits = np.array([300.0, 301.0, -np.inf])
    for sampling in (Sampling(temperature=1e-36), Sampling(1e-36, 3, 0.9, 0.1)):
        assert (many(logits, sampling, draws=50) == 1).all()


def test_a_cut_changes_no_draw_that_it_allows():
    """Noise belongs to the id: pairs of samplings stay comparable."""
    free = many(LOGITS, Sampling(), draws=500)
    for sampling in (Sampling(top_k=3), Sampling(top_p=0.8), Sampling(min_p=0.3)):
        allowed = distribution(LOGITS, sampling)[free] > 0
        assert 100 < allowed.sum() < 500
        cut = many(LOGITS, sampling, draws=500)
        assert (cut == free)[allowed].all()


@pytest.mark.slow
@settings(max_examples=60)
@given(
    logits=st.sampled_from([(1, 1), (1, 6), (3, 6)]).flatmap(
        lambda shape: st.lists(
            st.lists(st.integers(-4, 4), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    ),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    top_k=st.sampled_from([None, 1, 4, 12]),
    top_p=st.none() | st.floats(1e-3, 1),
    min_p=st.none() | st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_a_row_is_drawn_from_its_support_alone(
    logits, temperature, top_k, top_p, min_p, seed
):
    sampling = Sampling(temperature, top_k, top_p, min_p)
    sampling.check(len(logits[0]))
    logits = np.array(logits, np.float32)
    keys = jax.random.split(jax.random.key(seed), len(logits))
    drawn = sample(jnp.asarray(logits), keys, sampling)
    assert drawn.shape == (len(logits),)
    assert jnp.issubdtype(drawn.dtype, jnp.integer)
    for row, token in enumerate(drawn.tolist()):
        assert distribution(logits[row], sampling, slack=1e-5)[token] > 0
        alone = sample(
            jnp.asarray(logits[row : row + 1]), keys[row : row + 1], sampling
        )
        assert alone[0] == token


@pytest.mark.parametrize(
    "sampling, words",
    [
        (Sampling(temperature=-0.1), ("temperature=-0.1", "0 (greedy)")),
        (Sampling(temperature=float("nan")), ("temperature=nan",)),
        (Sampling(temperature=float("inf")), ("temperature=inf",)),
        (Sampling(top_k=0), ("top_k=0", "1 (greedy)", "65")),
        (Sampling(top_p=0.0), ("top_p=0.0", "at most 1")),
        (Sampling(top_p=1.1), ("top_p=1.1",)),
        (Sampling(min_p=-1.0), ("min_p=-1.0", "from 0")),
        (Sampling(min_p=1.5), ("min_p=1.5",)),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(sampling, words):
    with pytest.raises(UserError) as caught:
        sampling.check(65)
    assert all(word in str(caught.value) for word in words)
    assert str(caught.value).count(". ") == 0


@pytest.mark.slow
@settings(max_examples=80)
@given(
    temperature=st.sampled_from([5e-324, 1e-46, 1e-45, 1e-40, 1e-38, 1e-30])
    | st.floats(0, 1e-30),
    top_k=st.sampled_from([None, 1, 3, 7, 10**30]),
    top_p=st.none() | st.floats(0, 1, exclude_min=True),
    min_p=st.none() | st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_smaller_a_temperature_the_nearer_to_the_likeliest(
    temperature, top_k, top_p, min_p, seed
):
    """However small: what a float32 can't divide by is not 0 / 0."""
    sampling = Sampling(temperature, top_k, top_p, min_p)
    sampling.check(len(LOGITS))
    (drawn,) = sample(jnp.asarray(LOGITS)[None], jax.random.key(seed)[None], sampling)
    assert drawn == 4


@pytest.mark.parametrize("temperature", [1e30, 1e38, 3.5e38, 1e300])
@pytest.mark.parametrize("cuts", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_what_is_impossible_is_not_drawn_however_hot(temperature, cuts):
    logits = np.where(LOGITS > 0.8, LOGITS, -np.inf)
    drawn = many(logits, Sampling(temperature, **cuts), draws=200)
    assert set(drawn.tolist()) <= {1, 4, 6} and len(set(drawn.tolist())) > 1


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_a_seed_that_would_be_another_is_refused(seed):
    with pytest.raises(UserError, match="0 to 4294967295"):
        check_seed(seed)
    check_seed(seed % 2**32)
