"""Seeds that are trained together are the runs that they are alone."""

import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.data import Labelled
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import load, read
from lm_jax.models import BagOfVectors, Classifier, Mean
from lm_jax.objectives import Classify
from lm_jax.schedules import Constant
from lm_jax.sweeping.sweep import sweep
from lm_jax.sweeping.together import groups
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters
from lm_jax.training import abreast, setup
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
    names = [[cell.name for cell in group] for group in groups(plan().cells, 4)]
    first = [[f"{name}/seed{k}" for k in range(4)] for name in ("base", "wide")]
    assert names == [*first, ["base/seed4"], ["wide/seed4"]]


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
