"""What the compiler is told, by the chip and by the user."""

import pytest

from lm_jax.chips import PEAKS
from lm_jax.compiler import OPTIONS, options_of
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.training.compiled import Compiled
from lm_jax.training.setup import set_up
from tests.tiny import write_tiny


def test_what_a_user_says_goes_before_what_a_chip_has():
    assert OPTIONS.keys() <= PEAKS.keys()
    for kind, known in OPTIONS.items():
        assert options_of(kind) == known
        name = next(iter(known))
        assert options_of(kind, [f"--{name}=7"]) == known | {name: 7}
    found = options_of("cpu", ["a=true", "b=0.5", "c=few"])
    assert found == {"a": True, "b": 0.5, "c": "few"}
    with pytest.raises(UserError, match="'xla_a' is no option with a value"):
        options_of("cpu", ["xla_a"])


def test_a_step_is_compiled_with_them(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = override(load("tiny.py").experiment, ["--compiler", "xla_no=1"], "train")
    setup = set_up(asked)
    with pytest.raises(UserError, match="has no option 'xla_no'"):
        Compiled(setup).plan(setup)
