"""Seeds move all that is random, or one part alone."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import lm_jax
from lm_jax.__main__ import main
from lm_jax.ablation import Study
from lm_jax.ablation.plan import make_plan
from lm_jax.errors import UserError
from lm_jax.experiment import digest, load, read
from lm_jax.experiment.value import RANDOM, recipe
from lm_jax.schedules import Constant
from lm_jax.sharding import to_mesh
from lm_jax.training.compiled import Compiled
from lm_jax.training.replay import replay
from lm_jax.training.setup import set_up
from tests.sweeping import test_sweep
from tests.sweeping.test_side_by_side import numbers
from tests.sweeping.test_sweep import in_folder, resolved_once

__all__ = ["in_folder", "resolved_once"]


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def losses(setups):
    """Of the first step of the first run, with each one's dropout."""
    first, compiled = setups[0], Compiled(setups[0])
    batch = to_mesh(first.order.batch(0), first.mesh)
    for setup in setups:
        state = first.first_state()
        yield float(compiled.step(state, batch, setup.constants())[1]["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("part", RANDOM)
def test_seeds_move_the_part_that_is_asked_for_alone(part):
    planned = test_sweep.plan(Study(seeds=2, vary=part))
    cells = [cell for cell in planned.cells if cell.variant == "base"]
    assert [cell.seed for cell in cells] == [0, 1]
    setups = [set_up(cell.experiment) for cell in cells]
    first = [setup.first_state().params for setup in setups]
    batches = [setup.order.batch(3) for setup in setups]
    one, two = losses(setups)
    moved = {
        "order": not same(*batches),
        "initial": not same(*first),
        "dropout": one != two,
    }
    assert moved == {each: each == part for each in RANDOM}


def test_what_is_held_is_part_of_the_recipe():
    """Where nothing is, a recipe is named as before something could be."""
    experiment = load("tiny.py").experiment
    assert "held" not in {leaf.name for leaf in recipe(experiment)}
    held = [replace(experiment, held=held) for held in ((), ("order",), RANDOM)]
    assert len({digest(each) for each in held}) == 3
    again = replace(experiment, held=("dropout", "order", "initial", "order"))
    assert digest(again) == digest(held[2])
    with pytest.raises(UserError, match="Did you mean 'order'"):
        Study(vary="ordre")


def test_the_plan_and_the_report_say_what_moves():
    report = test_sweep.swept(test_sweep.Stub(), Study(seeds=5, vary="initial"))
    planned = json.loads(Path("runs/tiny/sweep.json").read_text())
    assert planned["study"]["vary"] == "initial"
    assert planned["variants"]["wide"]["fields"]["held"] == "('order', 'dropout')"
    assert "Seeds move initial values alone" in test_sweep.told(report)
    with pytest.raises(UserError, match="study.vary: initial there, all now"):
        test_sweep.swept(test_sweep.Stub())


@pytest.mark.slow
def test_with_all_held_another_seed_trains_resumes_and_replays_as_seed_0(capsys):
    """The longer run goes on from the shorter one's checkpoint."""
    tiny = load("tiny.py").experiment
    experiment = replace(tiny, budget="4 steps", schedule=Constant(1e-2))
    held = replace(experiment, seed=5, held=RANDOM)
    lm_jax.train(experiment, "runs/zero")
    lm_jax.train(replace(held, budget="2 steps"), "runs/five")
    lm_jax.train(held, "runs/five")
    assert read(Path("runs/five")).seed == 5
    assert numbers(Path("runs/zero")) == numbers(Path("runs/five"))
    assert replay(Path("runs/five"), 3).difference == ""
    capsys.readouterr()
    seen = []
    for run in ("runs/zero", "runs/five"):
        assert main(["inspect", run, "--step", "2", "--json"]) == 0
        seen.append(json.loads(capsys.readouterr().out))
    assert seen[0] == seen[1]


def test_dropout_that_is_not_there_is_no_part_to_vary():
    experiment = load("tiny.py").experiment
    dry = replace(experiment, model=experiment.model.clone(dropout=0.0))
    both, study = {"base": experiment, "dry": dry}, Study(seeds=2, vary="dropout")
    with pytest.raises(UserError, match="'dry' has no dropout"):
        make_plan(both, Path("runs/tiny"), study)
    assert make_plan(both, Path("runs/tiny"), replace(study, vary="order")).cells
