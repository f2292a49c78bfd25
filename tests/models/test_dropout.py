"""Dropout keeps the mean: what is not dropped is scaled by 1 / (1 - rate)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models.dropout import dropout, example_keys, part_keys
from lm_jax.models.recurrent import dropout_shared

KEYS = example_keys(jax.random.key(0), jnp.arange(6))


class Shared(nn.Module):
    """Drops what all examples share."""

    rate: float

    def __call__(self, x):
        return dropout_shared(self, x, self.rate)


def of_examples(x, rate):
    return dropout(x, rate, KEYS[: len(x)], "name")


def of_all(x, rate):
    return Shared(rate).apply({}, x, rngs={"shared": jax.random.key(0)})


@pytest.mark.parametrize("drop", [of_examples, of_all])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_an_entry_is_zero_or_scaled_and_the_mean_stays(drop, rate):
    x = jax.random.normal(jax.random.key(1), (6, 5000)) + 3.0
    dropped = drop(x, rate)
    zero = np.asarray(dropped == 0)
    np.testing.assert_allclose(
        np.where(zero, 0, dropped), np.where(zero, 0, x / (1 - rate)), rtol=1e-6
    )
    assert abs(zero.mean() - rate) < 0.02
    assert abs(float(dropped.mean() / x.mean()) - 1) < 0.05


@pytest.mark.parametrize("drop", [of_examples, of_all])
def test_no_rate_drops_nothing(drop):
    x = jnp.ones((2, 3))
    np.testing.assert_array_equal(drop(x, 0.0), x)


def test_without_random_keys_nothing_is_dropped():
    x = jnp.ones((2, 3))
    np.testing.assert_array_equal(dropout(x, 0.5, None, "name"), x)
    np.testing.assert_array_equal(Shared(0.5).apply({}, x), x)
    assert part_keys(None, "part") is None


def test_rows_names_and_parts_draw_apart():
    x = jnp.ones((6, 200))
    one = of_examples(x, 0.5)
    assert len({row.tobytes() for row in np.asarray(one)}) == 6
    others = [dropout(x, 0.5, KEYS, "other")]
    others += [dropout(x, 0.5, part_keys(KEYS, part), "name") for part in (0, 1, "a")]
    whole = [np.asarray(each).tobytes() for each in (one, *others)]
    assert len(set(whole)) == len(whole)
