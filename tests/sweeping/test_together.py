"""Seeds that are trained together are the runs that they are alone."""

import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import Study, log_uniform, uniform
from lm_jax.ablation.plan import make_plan
from lm_jax.data import Labelled
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import load, read
from lm_jax.models import BagOfVectors, Classifier, Mean
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import Constant, WarmupCosine
from lm_jax.sweeping import cells
from lm_jax.sweeping.sweep import sweep
from lm_jax.sweeping.together import groups
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters
from lm_jax.training import abreast, setup
from lm_jax.training.compiled import Compiled
from lm_jax.training.replay import verify
from tests.sweeping.test_side_by_side import numbers
from tests.sweeping.test_sweep import VARIANTS, plan
from tests.tiny import EXPERIMENT, write_tiny


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    text = EXPERIMENT + VARIANTS.replace("2 steps", "6 steps")
    Path(tmp_path, "tiny.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    # Of the several devices that tests have.
    monkeypatch.setattr(setup, "all_devices", lambda several: jax.devices()[:1])


def test_all_seeds_of_a_variant_and_then_those_of_the_next():
    four = replace(plan(), together=4).cells
    names = [[cell.name for cell in group] for group in groups(four, 4)]
    first = [[f"{name}/seed{k}" for k in range(4)] for name in ("base", "wide")]
    assert names == [*first, ["base/seed4"], ["wide/seed4"]]


def trials_of(**tune):
    study = Study(seeds=2, trials=4, tune=tune)
    return replace(plan(study), together=2).trials


def test_schedules_are_arguments_of_one_program_and_other_fields_are_not():
    """Values that are tuned, and variants, that differ in their rates alone."""
    trials = trials_of(**{"schedule.peak": log_uniform(1e-4, 1e-2)})
    names = [[cell.name for cell in group] for group in groups(trials, 2)]
    assert names == [
        ["base/trial0", "base/trial1"],
        ["base/trial2", "base/trial3"],
        ["wide/trial0", "wide/trial1"],
        ["wide/trial2", "wide/trial3"],
    ]
    others = trials_of(**{"optimizer.weight_decay": uniform(0.01, 0.1)})
    assert list(groups(others, 2)) == [] and len(others) == 8
    experiment = load("tiny.py").experiment
    rates = {
        "cosine": experiment,
        "fixed": replace(experiment, schedule=Constant(1e-4)),
        "decayed": replace(experiment, optimizer=AdamW(weight_decay=0.2)),
    }
    both = replace(make_plan(rates, Path("x"), Study(seeds=2)), together=4).cells
    names = [[cell.name for cell in group] for group in groups(both, 4)]
    assert names == [
        ["cosine/seed0", "fixed/seed0", "cosine/seed1", "fixed/seed1"],
        ["decayed/seed0", "decayed/seed1"],
    ]


@pytest.mark.slow
def test_rates_together_equal_rates_alone_and_are_compiled_once(monkeypatch):
    """Two peaks and a third kind of schedule, of two seeds, four rows at a time."""
    made = []

    class Counted(Compiled):
        def __init__(self, setup):
            made.append(self)
            super().__init__(setup)

    experiment = load("tiny.py").experiment
    schedules = WarmupCosine(1e-2, "2 steps"), WarmupCosine(1e-3), Constant(3e-3)
    names = "ten", "one", "fixed"
    variants = {
        name: replace(experiment, schedule=schedule)
        for name, schedule in zip(names, schedules, strict=True)
    }
    study = Study(seeds=2)
    sweep(variants, "runs/one", study)
    monkeypatch.setattr(cells, "Compiled", Counted)
    sweep(variants, "runs/four", study, together=4)
    assert len(made) <= len(variants)
    rates = set()
    for name in (f"{v}/seed{k}" for v in names for k in range(2)):
        four, one = Path("runs/four", name), Path("runs/one", name)
        for a, b in zip(numbers(four), numbers(one), strict=True):
            if "loss" in b:
                np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
                assert a["learning_rate"] == pytest.approx(b["learning_rate"], rel=1e-6)
                rates.add(a["learning_rate"])
        assert verify(four).difference == ""
    assert len(rates) > 4


@pytest.mark.slow
def test_together_equals_alone_and_is_made_again_to_the_bit(capsys):
    """Three seeds by two: the last has no neighbour, and the same program."""
    again = "--seeds", "3", "--out"
    assert main(["sweep", "tiny.py", *again, "runs/two", "--together", "2"]) == 0
    assert main(["sweep", "tiny.py", *again, "runs/one"]) == 0
    for name in (f"{v}/seed{k}" for v in ("base", "wide") for k in range(3)):
        two, one = Path("runs/two", name), Path("runs/one", name)
        assert read(two).execution.together == 2
        for a, b in zip(numbers(two), numbers(one), strict=True):
            assert a.get("batch") == b.get("batch")
            if "loss" in b:
                np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
        assert verify(two).difference == ""
    # Every seed is one of its own.
    runs = [Path("runs/two/base", f"seed{k}") for k in range(3)]
    assert len({numbers(run)[0]["loss"] for run in runs}) == 3


@pytest.mark.slow
def test_stopped_and_gone_on_equals_uninterrupted(monkeypatch):
    """A signal in the middle; one of the two has then ended, and is not begun again."""
    assert main(["sweep", "tiny.py", "--out", "runs/whole", "--together", "2"]) == 0
    make, made = abreast.Abreast._make, []

    def stopping(self):
        made.append(self)
        if len(made) == 3:
            signal.raise_signal(signal.SIGTERM)
        make(self)

    monkeypatch.setattr(abreast.Abreast, "_make", stopping)
    # Signals are heard by the thread that waits for the others.
    assert main(["sweep", "tiny.py", "--together", "2"]) == 0
    assert not Path("runs/tiny/base/seed0/result.json").exists()
    monkeypatch.setattr(abreast.Abreast, "_make", make)
    assert main(["sweep", "tiny.py", "--together", "2"]) == 0
    for name in ("base/seed0", "base/seed1", "wide/seed0", "wide/seed1"):
        assert numbers(Path("runs/tiny", name)) == numbers(Path("runs/whole", name))


@pytest.mark.slow
def test_one_that_fails_leaves_the_others_as_they_are(capsys):
    """Seed 0's directory holds something of another kind: its neighbour ends."""
    blocked = Path("runs/tiny/base/seed0/checkpoints")
    blocked.parent.mkdir(parents=True)
    assert main(["sweep", "tiny.py", "--out", "runs/whole", "--together", "2"]) == 0
    blocked.write_text("")
    assert main(["sweep", "tiny.py", "--together", "2"]) == 1
    assert "base seed 0  failed" in capsys.readouterr().out
    for name in ("base/seed1", "wide/seed0", "wide/seed1"):
        assert numbers(Path("runs/tiny", name)) == numbers(Path("runs/whole", name))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--together", "1"], "--together 1: give 2 seeds or more"),
        (["--together", "2", "--workers", "2"], "--workers or --together, not both"),
    ],
)
def test_what_cannot_be_shared_is_one_message(args, said, capsys):
    assert main(["sweep", "tiny.py", *args]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


def test_batches_of_several_shapes_are_refused():
    lines = (f'{{"text": "{k} ", "label": "{k % 2}"}}' for k in range(200))
    Path("labels.jsonl").write_text("\n".join(lines))
    several = replace(
        load("tiny.py").experiment,
        data=Labelled(Corpus("labels.jsonl"), Characters(unknown=True), lengths=(2, 4)),
        model=Classifier(BagOfVectors(8), Mean()),
        objective=Classify(),
        evaluations={"likelihood": Likelihood("4 steps")},
    )
    two = {"base": several, "slow": replace(several, schedule=Constant(1e-4))}
    with pytest.raises(UserError, match=r"batches of \d+ shapes here"):
        sweep(two, "runs/x", together=2)


def test_several_devices_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(setup, "all_devices", lambda several: jax.devices()[:2])
    assert main(["train", "tiny.py", "--together", "2"]) == 2
    assert "execution.together=2 computes runs at once" in capsys.readouterr().err
