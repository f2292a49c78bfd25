"""A plan is made before its runs, written once, and not changed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.ablation import PublishedEffect, Study
from lm_jax.ablation import plan_file as plans
from lm_jax.ablation.grid import over_grid, with_fields
from lm_jax.ablation.plan import make_plan
from lm_jax.ablation.plan_file import claim_plan
from lm_jax.errors import UserError
from lm_jax.experiment import Execution, load
from tests.tiny import write_tiny

STUDY = Study(seeds=2)


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    return load("tiny.py").experiment


def wider(experiment, width=32):
    return replace(experiment, model=experiment.model.clone(width=width))


def two(experiment, study=STUDY, width=32):
    both = {"base": experiment, "wide": wider(experiment, width)}
    return make_plan(both, Path("runs/tiny"), study)


def test_cells_are_run_directories_and_pairs_stand_together(experiment):
    cells = two(experiment).cells
    assert [str(cell.run) for cell in cells] == [
        "runs/tiny/base/seed0",
        "runs/tiny/wide/seed0",
        "runs/tiny/base/seed1",
        "runs/tiny/wide/seed1",
    ]
    assert [cell.experiment.seed for cell in cells] == [0, 0, 1, 1]


def test_each_cell_is_named_by_recipe_seed_and_code(experiment, monkeypatch):
    def names(plan):
        return set(plans.written(plan)["cells"].values())

    before = names(two(experiment))
    assert len(before) == 4
    assert len(before & names(two(experiment, width=64))) == 2
    assert before == names(two(replace(experiment, execution=Execution(keep=9))))
    monkeypatch.setattr(plans, "own_code", lambda: {"sources": "other"})
    assert not before & names(two(experiment))


def test_what_was_published_stands_in_the_plan(experiment):
    effect = PublishedEffect(-0.03, "Su et al. 2021", "perplexity")
    study = Study(seeds=2, published={"wide": effect})
    found = json.loads(json.dumps(plans.written(two(experiment, study))))["study"]
    assert Study.from_written(found) == study
    assert plans.written(two(experiment))["study"]["published"] == {}
    with pytest.raises(UserError, match="'wid' is not compared.*Did you mean 'wide'"):
        two(experiment, Study(seeds=2, published={"wid": effect}))


def test_a_plan_is_claimed_once_and_found_again(experiment):
    plan = two(experiment)
    assert claim_plan(plan) is True
    kept = Path("runs/tiny/sweep.json").read_text()
    assert claim_plan(two(experiment)) is False
    assert Path("runs/tiny/sweep.json").read_text() == kept


CHANGED = [
    (lambda e: two(e, Study(seeds=3)), "study.seeds: 2 there, 3 now"),
    (lambda e: two(e, width=64), "wide: model.width: 32 there, 64 now"),
    (
        lambda e: make_plan({"base": e, "w": wider(e)}, Path("runs/tiny"), STUDY),
        "wide: there, not planned now",
    ),
]


@pytest.mark.parametrize(("other", "said"), CHANGED)
def test_another_plan_in_the_folder_is_refused_with_the_difference(
    experiment, other, said
):
    claim_plan(two(experiment))
    with pytest.raises(UserError, match=said) as caught:
        claim_plan(other(experiment))
    assert "--out" in str(caught.value)


def test_other_code_goes_on_with_no_plan_but_reads_it(experiment, monkeypatch):
    claim_plan(two(experiment))
    monkeypatch.setattr(plans, "own_code", lambda: {"sources": "later"})
    with pytest.raises(UserError, match="the code of lm_jax: .* there, later now"):
        claim_plan(two(experiment))
    assert claim_plan(two(experiment), any_code=True) is False


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "[]",
        '{"format": 9}',
        '{"format": 1}',
        '{"format": 1, "code": {"sources": "a"}, "study": [], "cells": {}}',
        '{"format": 1, "code": 3, "study": {}, "cells": {}, "variants": {}}',
    ],
)
def test_a_plan_that_cannot_be_read_is_named(experiment, text):
    claim_plan(two(experiment))
    Path("runs/tiny/sweep.json").write_text(text)
    with pytest.raises(UserError, match="runs/tiny/sweep.json"):
        claim_plan(two(experiment))


def test_a_grid_is_compared_at_each_point(experiment):
    both = {"base": experiment, "wide": wider(experiment)}
    axes = ["model.layers=1,2", "schedule.peak=1e-3"]
    found, against = over_grid(both, axes, "train")
    assert list(found) == [
        "layers=1,peak=1e-3",
        "wide,layers=1,peak=1e-3",
        "layers=2,peak=1e-3",
        "wide,layers=2,peak=1e-3",
    ]
    deep = found["wide,layers=2,peak=1e-3"]
    assert (deep.model.layers, deep.model.width, deep.schedule.peak) == (2, 32, 1e-3)
    assert against == {
        "wide,layers=1,peak=1e-3": "layers=1,peak=1e-3",
        "layers=2,peak=1e-3": "layers=1,peak=1e-3",
        "wide,layers=2,peak=1e-3": "layers=2,peak=1e-3",
    }


def test_without_a_grid_all_are_compared_with_the_first(experiment):
    both = {"base": experiment, "wide": wider(experiment)}
    assert over_grid(both, [], "train") == (both, {"wide": "base"})
    assert two(experiment).compared()[0].against == "base"


def test_fields_are_set_in_every_variant(experiment):
    both = {"base": experiment, "wide": wider(experiment)}
    found = with_fields(both, ["model.layers=3", "budget=2 steps"], [], "train")
    assert {(e.model.layers, e.budget) for e in found.values()} == {(3, "2 steps")}
    assert found["wide"].model.width == both["wide"].model.width
    assert with_fields(both, [], [], "train") == both


def test_values_become_names_of_folders(experiment):
    found, _ = over_grid({"base": experiment}, ["budget=2 steps,4 steps"], "train")
    assert list(found) == ["budget=2_steps", "budget=4_steps"]
    assert found["budget=4_steps"].budget == "4 steps"
    with pytest.raises(UserError, match="would have the folder 'source=a_b'"):
        over_grid({"base": experiment}, ["data.corpus.source=a/b,a_b"], "train")
