"""Differences name the fields that changed and no other."""

from dataclasses import replace

from lm_jax.experiment import differences, flatten
from lm_jax.models import Rotary
from tests.experiment import RECIPE


def test_differences_name_what_changed_and_only_that():
    other = replace(
        RECIPE, seed=1, model=RECIPE.model.clone(positions=Rotary(base=500.0))
    )
    assert differences(RECIPE, RECIPE) == []
    assert differences(RECIPE, other) == [
        ("model.positions", "Learned", "Rotary"),
        ("model.positions.length", "0", None),
        ("seed", "0", "1"),
        ("model.positions.base", None, "500.0"),
    ]


def test_flatten_reaches_every_leaf():
    flat = flatten(RECIPE)
    assert flat["model.layers"] == "4"
    assert flat["data.corpus.source"] == "'tinyshakespeare'"
    assert flat["optimizer"] == "AdamW"
    assert not [name for name in flat if name.endswith((".parent", ".name"))]
