"""The benchmark of how commands begin."""

import time

import pytest

from lm_jax.__main__ import main
from lm_jax.commands.bench_start import _seconds, report

FAKE = """
import sys, time
print("setting up 0/9", flush=True)
print("1/9  loss 2.0", flush=True)
if sys.argv[1] == "fail":
    sys.exit("no such thing")
time.sleep(20 if sys.argv[1] == "train" else 0)
"""


@pytest.fixture
def package(tmp_path):
    (tmp_path / "lm_jax").mkdir()
    (tmp_path / "lm_jax" / "__main__.py").write_text(FAKE)
    return tmp_path


def test_a_training_is_timed_to_its_first_step(package):
    begin = time.perf_counter()
    seconds = _seconds(package, package, ["train"], True)
    assert 0 < seconds <= time.perf_counter() - begin < 15
    assert _seconds(package, package, ["show"], False) > 0


def test_a_command_that_fails_is_said(package, capsys):
    with pytest.raises(Exception, match="fail failed:\n(.|\n)*no such thing"):
        _seconds(package, package, ["fail"], False)
    assert main(["bench", "start", "--families", "gpt"]) == 2
    assert "There is no family 'gpt'" in capsys.readouterr().err


def test_the_table_fits_and_has_a_row_for_each(capsys):
    lines = report({"ngram": [{"show": 1.234}, {"show": 20.0, "runs": 0.5}]})
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split() == ["ngram", "1.23", *["-"] * 6]
    assert lines[2].split() == ["other", "20.00", *["-"] * 4, "0.50", "-"]
