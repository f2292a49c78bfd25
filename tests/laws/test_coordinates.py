"""The coordinate check tells muP from what isn't, over widths."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.laws.coordinates import Coordinates, at_width
from lm_jax.laws.transfer_picture import draw_coordinates
from lm_jax.models import Classifier, Encoder, Model, MuP, mup_rates
from tests.tiny import EXPERIMENT, write_tiny

MUP = """
from lm_jax.models import MuP, NoPositions, mup_rates
model = experiment.model.clone(positions=NoPositions(), heads=1, dropout=0.0)
experiment = replace(experiment, model=model)
wide = model.clone(initial=MuP(16, 16))
rated = replace(experiment.optimizer, rates=mup_rates(wide, 16))
variants = {"mup": replace(experiment, model=wide, optimizer=rated)}
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    Path(tmp_path, "tiny.py").write_text(EXPERIMENT + MUP)
    monkeypatch.chdir(tmp_path)


class Flat(Model):
    """A model without a width."""


def said(capsys, *args, code=0):
    capsys.readouterr()
    assert (main(["transfer", "coordinates", *args]) or 0) == code
    found = capsys.readouterr()
    assert max(map(len, (found.out + found.err).splitlines())) <= 80
    return " ".join((found.out + found.err).split())


@pytest.mark.slow
def test_changes_grow_with_the_width_but_for_mup(capsys):
    asked = ["--widths", "16", "64", "256", "--steps", "2"]
    told = said(capsys, "tiny.py", *asked)
    assert "rates can't be expected to transfer" in told
    told = said(capsys, "tiny.py:mup", *asked, "--out", "check.png")
    assert "necessary, not sufficient" in told and "block_0/attention" in told
    assert Path("check.png").exists()


def test_rates_follow_the_width():
    mup = load("tiny.py:mup").experiment
    wider = at_width(mup, 64)
    assert wider.model.width == 64 and wider.model.initial == MuP(16, 16)
    assert wider.optimizer.rates == mup_rates(wider.model, 16) != mup.optimizer.rates
    own = replace(mup, optimizer=replace(mup.optimizer, rates=((".*", 0.5),)))
    assert at_width(own, 64).optimizer == own.optimizer


def test_powers_are_those_of_the_width():
    widths = np.array([16.0, 32.0, 64.0])[:, None]
    start = np.concatenate([widths**-0.5, widths**0.0], axis=1)
    changes = np.stack([start, np.concatenate([widths**0.0, widths**1.0], axis=1)])
    found = Coordinates((16, 32, 64), ("block", "logits"), start, changes)
    assert found.powers(start) == pytest.approx([-0.5, 0.0])
    assert found.moved == pytest.approx({"logits": 1.0})
    draw_coordinates(found, Path("check.png"))
    assert image.imread("check.png").shape[1] > 600


def test_what_has_no_widths_is_refused(capsys):
    assert "needs 3 widths" in said(capsys, "tiny.py", "--widths", "16", "32", code=2)
    told = said(capsys, "tiny.py", "--widths", "16", "32", "33", "--model", code=2)
    assert "has no option --model" in told
    counted = "experiment = replace(experiment, model=experiment.model.clone(heads=2))"
    Path("odd.py").write_text(f"{EXPERIMENT}{counted}\n")
    assert "heads" in said(capsys, "odd.py", "--widths", "16", "32", "33", code=2)
    narrow = replace(load("tiny.py").experiment, model=Flat())
    with pytest.raises(UserError, match="Flat has no field 'width'"):
        at_width(narrow, 16)


def test_what_stands_over_a_body_is_widened_with_it():
    """And its head's rate, and that of the body's kernels."""
    model = Classifier(Encoder(layers=1, heads=1, width=16, initial=MuP(16, 16)))
    tiny = load("tiny.py:mup").experiment
    rated = replace(tiny.optimizer, rates=mup_rates(model, 16))
    wider = at_width(replace(tiny, model=model, optimizer=rated), 64)
    assert wider.model.body.width == 64 and isinstance(wider.model, Classifier)
    assert wider.optimizer.rates == mup_rates(wider.model, 16) != rated.rates
    assert "class_head" in wider.optimizer.rates[0][0]
