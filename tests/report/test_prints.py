"""Figures for print: both forms, the same each time."""

from pathlib import Path

import pytest

from lm_jax.errors import UserError
from lm_jax.report.gathered import Gathered
from lm_jax.report.gathering import gather
from lm_jax.report.prints import print_figures
from tests.report.made import made


def test_each_number_is_drawn_as_png_and_svg():
    made()
    found = gather([Path("runs/tiny")])
    files = print_figures(found, Path("figures/a"))
    names = {file.name for file in files}
    assert len(names) == 8 and {"validation_loss.png", "grad_norm.svg"} <= names
    assert files[0].read_bytes().startswith(b"\x89PNG")
    vector = Path("figures/a/loss.svg").read_text()
    assert "<svg" in vector and len(vector) < 200_000
    print_figures(found, Path("figures/b"))
    assert Path("figures/b/loss.svg").read_text() == vector


def test_without_curves_there_is_nothing_to_draw():
    with pytest.raises(UserError, match="no curves to draw"):
        print_figures(Gathered([], []), Path("figures"))
