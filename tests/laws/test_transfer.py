"""What rate sweeps over widths show, and what they can't."""

import json
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
from matplotlib import image

from lm_jax.__main__ import main
from lm_jax.ablation import Study
from lm_jax.ablation.plan import make_plan
from lm_jax.ablation.plan_file import written
from lm_jax.experiment import load
from lm_jax.laws.transfer import Sweep, read_sweeps
from lm_jax.models import GPT2, MuP
from lm_jax.runs.result import mark_longer
from lm_jax.runs.trials import PLAN
from tests.laws.ladder import write_run
from tests.tiny import write_tiny

RATES = (1e-3, 2e-3, 4e-3, 8e-3)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)


def bowl(best, width):
    """Losses by rate, with a lowest point; wider is better."""
    return {rate: 2 - width / 1000 + 0.05 * log(rate / best) ** 2 for rate in RATES}


def swept(optima, folder="runs", initials=(GPT2(),), seeds=2, rates=RATES, **more):
    """A folder of runs whose best rates are given, by width."""
    base = replace(load("tiny.py").experiment, average=None)
    experiments, losses = {}, {}
    for initial in initials:
        for width, best in optima.items():
            for rate in rates:
                name = f"{type(initial).__name__}-{width}-{rate:g}"
                experiments[name] = replace(
                    base,
                    model=base.model.clone(width=width, initial=initial),
                    schedule=replace(base.schedule, peak=rate),
                )
                losses[name] = bowl(best, width)[rate]
    plan = make_plan(experiments, Path(folder), Study(seeds=seeds))
    for cell in plan.cells:
        more_here = more.get(f"w{cell.experiment.model.width}", {})
        loss = losses[cell.variant] + (-1) ** cell.seed * 0.01
        write_run(cell.run, cell.experiment, loss, **more_here)
    (plan.folder / PLAN).write_text(json.dumps(written(plan)))
    return plan


def said(capsys, *args, code=0):
    capsys.readouterr()
    assert (main(["transfer", *args]) or 0) == code
    found = capsys.readouterr()
    assert max(map(len, (found.out + found.err).splitlines())) <= 80
    return " ".join((found.out + found.err).split())


@pytest.mark.slow
def test_an_optimum_that_stays_and_one_that_moves(capsys):
    swept({16: 3e-3, 32: 3.5e-3, 64: 3e-3})
    told = said(capsys, "runs", "--out", "rates.png")
    assert "stays within a step of the rates (from 16 to 64 by a factor of 1)" in told
    assert "Other lengths are untested." in told and "1,000,000 tokens" in told
    assert image.imread("rates.png").shape[1] > 600
    (sweep,) = read_sweeps(Path("runs"))
    found = [sweep.optimum(width) for width in (16, 32, 64)]
    assert found == pytest.approx([3e-3, 3.5e-3, 3e-3])
    assert sweep.cost(32) == 0.0

    swept({16: 4.5e-3, 32: 3e-3, 64: 1.5e-3}, "moves")
    told = said(capsys, "moves")
    assert "The optimum moves, from 16 to 64 by a factor of 0.333" in told
    (sweep,) = read_sweeps(Path("moves"))
    assert sweep.cost(64) == pytest.approx(
        sweep.losses[64][4e-3] - sweep.losses[64][2e-3]
    )


def test_an_optimum_at_the_edge_gives_no_verdict(capsys):
    swept({16: 3e-3, 32: 3e-3, 64: 1e-3})
    told = said(capsys, "runs")
    assert "(at the edge of the rates)" in told
    assert "No verdict: the best rate of width 64 is at the edge" in told


@pytest.mark.slow
def test_kinds_of_model_stand_apart(capsys):
    same, both = dict.fromkeys((16, 32, 64), 2e-3), (GPT2(), MuP(16, 8))
    swept(same, initials=both, rates=RATES[:3])
    found = read_sweeps(Path("runs"))
    assert len(found) == 2 and "model.initial MuP" in found[1].title
    assert "model.initial GPT2" in said(capsys, "runs", "--out", "rates.png")


REFUSED = [
    ({"optima": {16: 4e-3}}, "3 widths are the least, all with the same rates; here"),
    (
        {"optima": {16: 4e-3, 32: 4e-3}},
        "3 widths are the least, all with the same rates; here is 16, 32.",
    ),
    ({"w64": {"tokens": 2e6}}, "2,000,000 tokens, runs/GPT2-16-0.001/seed0 on 1,000"),
    ({"w32": {"rates": (1.0, 1.0)}}, "has not decayed"),
    ({"rates": RATES[:2]}, "need the same rates, 3 at the least"),
    ({"w16": {"text": "other"}}, "text is abc here, and other there"),
]


@pytest.mark.parametrize(("made", "words"), REFUSED, ids=[w for _, w in REFUSED])
def test_what_shows_no_transfer_is_refused(made, words, capsys):
    swept(**{"optima": {16: 2e-3, 32: 2e-3, 64: 2e-3}, "rates": RATES[:3]} | made)
    assert words in said(capsys, "runs", code=2)


def said_of_laws(capsys):
    assert main(["laws", "runs"]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_an_unfinished_sweep_is_refused(capsys):
    plan = swept({16: 2e-3, 32: 2e-3, 64: 2e-3}, rates=RATES[:3])
    mark_longer(plan.cells[3].run, "40 steps")
    assert "1 of 18 runs have not ended" in said(capsys, "runs", code=2)
    assert "has not ended: its budget is '40 steps'" in said_of_laws(capsys)
    (plan.cells[3].run / "result.json").unlink()
    assert "1 of 18 runs have not ended" in said(capsys, "runs", code=2)
    assert "tiny has no sweep.json" in said(capsys, "tiny", code=2)


def test_a_flat_bowl_has_its_best_rate():
    sweep = Sweep("", 1, {16: {1e-3: 2.0, 2e-3: 2.0, 4e-3: 2.0}})
    assert sweep.best(16) == 1e-3 and sweep.at_edge(16)
