"""Experiment files say what to expect, and mistakes in them are one message."""

import os
import sys

import pytest

from lm_jax.commands.fields_help import fields_help
from lm_jax.errors import UserError
from lm_jax.experiment import load
from tests.experiment import FILES, ROOT


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_docstring_says_how_and_what_to_expect(file):
    text = file.read_text()
    for word in ("Run:", "Expect:", "Source:", str(file.relative_to(ROOT))):
        assert word in text.split('"""')[1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = Charactrs()", "line 2: NameError"),
        ("from lm_jax.models import Transformer; Transformer(layer=2)", "line 2"),
        ("x = (", "line 2: SyntaxError"),
    ],
)
def test_a_mistake_in_the_file_is_one_message_with_its_line(line, words, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(f'"""Bad."""\n{line}\n')
    with pytest.raises(UserError, match=words):
        load(str(file))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("experiments/gpt_shakespear.py", "gpt_shakespeare.py"),
        ("experiments/gpt_shakespeare.py:rotari", "Did you mean 'rotary'"),
    ],
)
def test_an_unknown_file_or_variant_is_named_with_the_nearest(address, words):
    with pytest.raises(UserError, match="(?s)" + words):
        load(address)


def test_files_of_the_directory_asked_for_are_listed(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    for name in ("study.py", "other.py", "_own.py", "test_it.py"):
        (tmp_path / "mine" / name).write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as said:
        load("mine/studdy.py")
    assert "Did you mean 'mine/study.py'?" in str(said.value)
    assert "mine/other.py" in str(said.value) and "test_it" not in str(said.value)
    assert "_own" not in str(said.value)
    with pytest.raises(UserError, match="Did you mean 'mine/study.py'"):
        load("mien/study.py")


@pytest.mark.parametrize(
    ("address", "name", "variant"),
    [
        ("at 12:30/own.py", "own", "base"),
        ("at 12:30/own.py:rotary", "own", "rotary"),
        ("own.py:", "own", "base"),
    ],
)
def test_a_folder_may_have_a_colon_in_its_name(
    address, name, variant, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "at 12:30").mkdir()
    source = (ROOT / "experiments/gpt_shakespeare.py").read_bytes()
    for folder in (tmp_path, tmp_path / "at 12:30"):
        (folder / "own.py").write_bytes(source)
    found = load(address)
    assert (found.name, found.variant) == (name, variant)
    assert fields_help(found, address, "show").count(address.partition(".py")[0])
    with pytest.raises(UserError, match="no experiment file 'at 12'"):
        load("at 12:30")


def test_a_folder_in_the_place_of_a_file_is_not_its_own_neighbour(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="no experiment file 'mine'") as said:
        load("mine")
    assert "Did you mean 'mine'?" not in str(said.value)


def test_a_run_in_the_place_of_a_file_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run, words in {
        "runs/gpt_shakespeare/base/seed0": "experiments/gpt_shakespeare.py",
        "runs/gpt_shakespeare/rotary/seed1": "experiments/gpt_shakespeare.py:rotary",
        "mine": r"FILE\[:VARIANT\]",
    }.items():
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "experiment.json").write_text("{}")
        with pytest.raises(UserError, match=f"go on .* train {words} --run {run}"):
            load(run)


def test_a_file_is_read_as_it_stands_whatever_its_time(tmp_path, monkeypatch):
    """Python alone goes by size and time, and would run what it compiled before."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "own.py"
    source = (ROOT / "experiments/gpt_shakespeare.py").read_text(encoding="utf-8")
    for peak in ("1e-3", "9e-3"):
        path.write_text(source.replace("peak=1e-3", f"peak={peak}"), encoding="utf-8")
        os.utime(path, (10**9, 10**9))
        assert load(str(path)).experiment.schedule.peak == float(peak)
    assert [each.name for each in tmp_path.iterdir()] == ["own.py"]
