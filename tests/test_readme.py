"""Every command block of the README runs; long trainings are cut short."""

import re
import shlex
from pathlib import Path

import pytest

from lm_jax.__main__ import COMMANDS, main
from lm_jax.experiment import CountExperiment, load
from tests.properties import slow_but

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
LINES = [
    line.removeprefix("./launch.sh ")
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
]
# What neither trains nor needs what was trained.
LIGHT = [line for line in LINES if re.match("diff|table(?! runs)", line)]
SHORT = ["--budget", "2 steps", "--evaluate-every", "2 steps"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reader")


@pytest.mark.parametrize("line", slow_but(LINES, *LIGHT))
def test_a_command_of_the_readme_runs(line, folder, monkeypatch, capsys):
    import jax

    devices = jax.devices()[:4]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.chdir(folder)
    name, *args = shlex.split(line)
    assert name in COMMANDS
    if name == "test":
        pytest.skip("this is it")
    if name == "train" and "--help" not in args:
        counts = isinstance(load(args[0]).experiment, CountExperiment)
        args += [*([] if counts else SHORT), "--data.corpus.validation", "0.002"]
    try:
        code = main([name, *args])
    except SystemExit as end:
        code = end.code
    assert code == 0, capsys.readouterr().err


@pytest.mark.slow
def test_the_experiment_of_the_readme_trains(folder, monkeypatch, capsys):
    (source,) = [block for kind, block in BLOCKS if kind == "python"]
    monkeypatch.chdir(folder)
    Path("tang.py").write_text(source, encoding="utf-8")
    assert main(["train", "tang.py", *SHORT]) == 0
    assert "春" in capsys.readouterr().out


def test_every_command_and_folder_is_explained():
    for name in COMMANDS:
        assert f"`{name}" in README
    package = Path(__file__).parent.parent / "lm_jax"
    for path in package.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert f"  {path.name}/" in README
    for link in re.findall(r"\]\((\w[^):]*)\)", README):
        assert (package.parent / link).exists(), link
