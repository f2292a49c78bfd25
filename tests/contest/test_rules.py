"""What a contest fixes can't be changed by a candidate, all else can."""

from dataclasses import replace

import pytest

from lm_jax.contest import Contest
from lm_jax.contest.rules import check, refereed
from lm_jax.counting import NGram
from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.evaluation import Accuracy, Likelihood, Sample
from lm_jax.experiment import CountExperiment, Execution, Experiment, FromRun, digest
from lm_jax.models import Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW, Muon
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes, Characters

DATA = TokenStream(Corpus("text.txt"), Characters(), context=16)
TEST = Corpus("text.txt", test=0.1)
BASE = Experiment(
    data=DATA,
    model=Recurrent(width=8),
    objective=NextToken(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=1e-2, warmup="1 step"),
    batch=8,
    budget="12 steps",
    evaluations={"likelihood": Likelihood("4 steps")},
)
SPEND, REACH = Contest(), Contest(reach=2.0)


@pytest.mark.parametrize(
    "name, changed",
    [
        ("data.context", {"data": replace(DATA, context=32)}),
        ("data.tokenizer", {"data": replace(DATA, tokenizer=Bytes())}),
        (
            "data.corpus.test",
            {"data": replace(DATA, corpus=TEST)},
        ),
        ("evaluations.likelihood.every", {"evaluations": {"likelihood": Likelihood()}}),
        (
            "watch",
            {"watch": "other", "evaluations": {"other": Accuracy("4 steps")}},
        ),
        ("initial", {"initial": FromRun("elsewhere")}),
        ("patience", {"patience": 3}),
        ("held", {"held": ("order", "initial")}),
        ("budget", {"budget": "13 steps"}),
        ("batch", {"batch": 16}),
    ],
)
def test_a_candidate_that_changes_what_is_fixed_is_refused(name, changed):
    with pytest.raises(UserError, match=f"  {name}"):
        check(BASE, replace(BASE, **changed), SPEND)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": Recurrent(width=9)},
        {"optimizer": Muon()},
        {"seed": 3},
        {"evaluations": {"likelihood": Likelihood("4 steps"), "sample": Sample()}},
        {"execution": Execution(accumulate=2)},
    ],
)
def test_all_else_may_be_changed(changed):
    candidate = replace(BASE, **changed)
    assert check(BASE, candidate, SPEND) is candidate


def test_what_spends_less_may_be_proposed_where_something_is_to_be_reached():
    candidate = replace(BASE, budget="6 steps", batch=16)
    assert check(BASE, candidate, REACH) is candidate
    assert refereed(BASE, candidate, REACH).budget == "6 steps"
    tokens = replace(BASE, budget="1000 tokens")
    assert check(tokens, replace(tokens, batch=16), SPEND).batch == 16


def test_what_runs_has_only_the_recipe_of_the_candidate():
    more = {"likelihood": Likelihood("4 steps"), "sample": Sample()}
    candidate = replace(
        BASE,
        evaluations=more,
        outputs=("tensorboard",),
        execution=Execution(accumulate=2),
        optimizer=Muon(),
    )
    runs = refereed(BASE, candidate, SPEND)
    assert list(runs.evaluations) == ["likelihood"] and runs.outputs == ()
    assert runs.execution == BASE.execution and runs.optimizer == Muon()
    assert digest(runs) == digest(candidate) != digest(BASE)
    held = replace(BASE, held=("initial",))
    assert refereed(held, held, SPEND).held == ()


def test_what_counts_is_no_candidate():
    counted = CountExperiment(data=DATA, model=NGram())
    with pytest.raises(UserError, match="trained in steps"):
        check(BASE, counted, SPEND)


def test_a_contest_refuses_what_it_cannot_be():
    with pytest.raises(UserError, match="contest.parameters"):
        Contest(parameters=0)
