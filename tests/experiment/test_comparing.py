"""Differences name the fields that changed and no other."""

from dataclasses import replace

import pytest

from lm_jax.errors import UserError
from lm_jax.evaluation import Accuracy, Likelihood, Sample
from lm_jax.experiment import (
    Compute,
    Execution,
    Published,
    differences,
    digest,
    flatten,
    from_json,
    load,
    to_json,
)
from lm_jax.models import Learned, Sinusoidal
from lm_jax.sharding import Sharding
from tests.experiment import RECIPE

# A figure belongs to one recipe.
PLAIN = replace(RECIPE, published=None)


def test_differences_name_what_changed_and_only_that():
    other = replace(
        PLAIN, seed=1, model=RECIPE.model.clone(positions=Sinusoidal(500.0, 1.0))
    )
    assert differences(PLAIN, PLAIN) == []
    assert differences(PLAIN, other) == [
        ("model.positions", "Learned", "Sinusoidal", "recipe"),
        ("model.positions.length", "0", None, "recipe"),
        ("seed", "0", "1", "recipe"),
        ("model.positions.base", None, "500.0", "recipe"),
        ("model.positions.amplitude", None, "1.0", "recipe"),
    ]


def test_flatten_reaches_every_leaf():
    flat = flatten(RECIPE)
    assert flat["model.layers"] == "4"
    assert flat["data.corpus.source"] == "'tinyshakespeare'"
    assert flat["optimizer"] == "AdamW"
    assert not [name for name in flat if name.endswith((".parent", ".name"))]


EVALUATIONS = dict(RECIPE.evaluations)
NOT_RECIPE = {
    "execution": replace(
        RECIPE,
        execution=Execution(Sharding(fsdp=4), accumulate=2, compute=Compute(True)),
    ),
    "outputs": replace(RECIPE, outputs=()),
    "published": replace(RECIPE, published=Published(1.0, "nowhere")),
    "a sample": replace(RECIPE, evaluations=EVALUATIONS | {"sample": Sample("x")}),
    "another evaluation": replace(
        RECIPE, evaluations=EVALUATIONS | {"right": Accuracy("3 steps")}
    ),
}


@pytest.mark.parametrize("name", NOT_RECIPE)
def test_execution_and_notes_are_no_difference_of_recipes(name):
    other = NOT_RECIPE[name]
    part = "execution" if name == "execution" else "notes"
    found = differences(RECIPE, other)
    assert found and {each.part for each in found} == {part}
    assert digest(other) == digest(RECIPE)


def test_the_watched_evaluation_is_part_of_the_recipe():
    often = replace(
        PLAIN, evaluations=EVALUATIONS | {"likelihood": Likelihood("1 step")}
    )
    (found,) = differences(PLAIN, often)
    assert (found.name, found.part) == ("evaluations.likelihood.every", "recipe")
    assert digest(often) != digest(RECIPE)
    more = EVALUATIONS | {"other": Likelihood("7 steps")}
    watching = replace(RECIPE, evaluations=more, watch="other")
    parts = {each.name: each.part for each in differences(RECIPE, watching)}
    assert parts["evaluations.other.every"] == parts["watch"] == "recipe"


def test_the_digest_names_the_recipe_whatever_the_seed_and_the_defaults():
    assert digest(replace(RECIPE, seed=5)) == digest(RECIPE)
    spelled = RECIPE.model.clone(positions=Learned(length=0), dropout=0.0)
    assert digest(replace(RECIPE, model=spelled)) == digest(RECIPE)
    assert digest(replace(RECIPE, batch=13)) != digest(RECIPE)


@pytest.mark.parametrize("watch", ["sample", "liklihood"])
def test_what_gives_no_score_cannot_be_watched(watch):
    with pytest.raises(UserError, match="likelihood"):
        replace(RECIPE, watch=watch)


def test_a_published_figure_belongs_to_the_recipe_it_was_given_to():
    figure = Published(1.88, "here")
    first = replace(RECIPE, published=figure)
    assert first.published == figure
    same = [
        replace(first, seed=3),
        replace(first, execution=Execution(accumulate=2)),
        replace(first, outputs=()),
        replace(first, evaluations=EVALUATIONS | {"sample": Sample("x")}),
        replace(replace(first, outputs=()), seed=1),
    ]
    assert [each.published for each in same] == [figure] * len(same)
    other = [
        replace(first, budget="3 steps"),
        replace(first, model=first.model.clone(dropout=0.5)),
        replace(first, evaluations=EVALUATIONS | {"likelihood": Likelihood()}),
        replace(replace(first, seed=1), batch=3),
    ]
    assert [each.published for each in other] == [None] * len(other)
    # Once it was another recipe's, it is lost; given again, it is there.
    assert replace(other[0], budget=first.budget).published is None
    assert replace(first, budget="3 steps", published=figure).published == figure
    new = replace(first.published, value=2.0)
    assert replace(first, budget="3 steps", published=new).published.value == 2.0
    assert from_json(to_json(first)).published == figure


def test_a_published_figure_of_counts_belongs_to_their_recipe():
    first = load("experiments/ngram_ptb.py").experiment
    assert first.published and replace(first, seed=2).published == first.published
    assert replace(first, model=replace(first.model, order=2)).published is None
