import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.selectors import like_layers_once, select

TREE = {"block_0": {"up": {"kernel": 0}, "norm": {"scale": 0}}, "embedding": 0}


def test_the_first_match_wins():
    chosen = select([("block_0/up", 1), ("kernel$", 2), (".*", 3)], TREE, "rates")
    assert chosen == {
        "block_0": {"up": {"kernel": 1}, "norm": {"scale": 3}},
        "embedding": 3,
    }


def test_a_parameter_that_nothing_matches_is_an_error():
    with pytest.raises(UserError, match=r"rates matches .*'block_0/norm/scale'"):
        select([("kernel", 1), ("embedding", 2)], TREE, "rates")


def test_a_malformed_expression_is_an_error():
    with pytest.raises(UserError, match=r"'\(' in rates is not a regular expression"):
        select([("(", 1)], TREE, "rates")


def test_arrays_are_leaves():
    assert select([("a", 1), (".*", 0)], {"a": np.ones(3), "b": np.ones(2)}, "x") == {
        "a": 1,
        "b": 0,
    }


def test_layers_that_are_alike_are_named_once():
    names = [f"decoder/block_{n}/up/kernel" for n in (0, 1, 10, 2, 3)]
    names += ["norm/scale", "  block_2/down: new", "  block_4/down: new", "block_1/a"]
    assert like_layers_once(names) == [
        "decoder/block_0,1,2,3,10/up/kernel",
        "norm/scale",
        "  block_2,4/down: new",
        "block_1/a",
    ]
    names = [f"block_{n}/up" for n in range(96)]
    assert like_layers_once(names) == ["block_0..95/up"]
