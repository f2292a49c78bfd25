"""The list of mistakes fits the code; the command that plants them tells the truth."""

import json
from pathlib import Path

import pytest

from lm_jax.commands import bench_mistakes
from lm_jax.commands.bench_mistakes import LIST, read_mistakes
from lm_jax.errors import UserError

ROOT = Path(__file__).parents[1]


def test_each_old_text_stands_once_in_its_file():
    mistakes = read_mistakes(ROOT)
    assert len(mistakes) >= 60
    for mistake in mistakes:
        text = (ROOT / mistake.file).read_text(encoding="utf-8")
        compile(mistake.planted(text), mistake.file, "exec")
        for test in mistake.tests:
            path, _, name = test.partition("::")
            there = (ROOT / path).is_dir() or f"def {name}" in (ROOT / path).read_text()
            assert there, f"[{mistake.name}]: {test}"


def test_mistakes_stand_in_every_room():
    package = ROOT / "lm_jax"
    rooms = {p.name for p in package.iterdir() if (p / "__init__.py").exists()}
    rooms |= {"durations.py", "selectors.py", "schedules.py"}
    rooms |= {"averages.py", "sharding.py"}
    found = {mistake.file.split("/")[1] for mistake in read_mistakes(ROOT)}
    assert rooms - {"bench"} <= found


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A room of one function, and tests of it, one of which fails anyway."""
    for path, text in {
        "lm_jax/runs/half.py": "def half(x):\n    return x / 2\n\n\nLOST = 1\n",
        "tests/runs/test_half.py": "from lm_jax.runs.half import half\n\n\n"
        "def test_fails_anyway():\n    assert half(1) == 7\n\n\n"
        "def test_half():\n    assert half(4) == 2\n",
        "tests/test_mistakes.py": "from pathlib import Path\n\n\n"
        "def test_each_old_text_stands():\n"
        "    assert 'LOST = 1' in Path('lm_jax/runs/half.py').read_text()\n",
        "tests/mistakes.toml": '[double]\nfile = "lm_jax/runs/half.py"\n'
        'old = "x / 2"\nnew = "x * 2"\nbreaks = "half is half"\n\n'
        '[lost]\nfile = "lm_jax/runs/half.py"\n'
        'old = "LOST = 1"\nnew = "LOST = 2"\nbreaks = "nothing"\n',
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow: long"]\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(bench_mistakes, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_mistake_is_caught_by_a_test_that_passes_without_it(project, capsys):
    file = project / "results.json"
    before = (project / "lm_jax/runs/half.py").read_bytes()
    assert bench_mistakes.main(["--write", str(file)]) == 1
    said = capsys.readouterr().out
    assert "tests/runs/test_half.py::test_half" in said
    assert "NOT CAUGHT: nothing" in said and "1 of 2 caught: 50.0%" in said
    double, lost = json.loads(file.read_text())["each"]
    assert double["caught_by"] == "tests/runs/test_half.py::test_half"
    assert lost["caught_by"] is None
    assert (project / "lm_jax/runs/half.py").read_bytes() == before
    assert bench_mistakes.main(["--only", "double", "--jobs", "2"]) == 0


def test_what_does_not_fit_is_said(project):
    with pytest.raises(UserError, match="no mistake 'doubl'. Did you mean 'double'"):
        bench_mistakes.main(["--only", "doubl"])
    with pytest.raises(UserError, match="must be 1 or more"):
        bench_mistakes.main(["--jobs", "0"])
    (project / "lm_jax/runs/half.py").write_text("x / 2 + x / 2")
    with pytest.raises(UserError, match=r"\[double\]: its old text stands 2 times"):
        bench_mistakes.main([])
    (project / LIST).unlink()
    with pytest.raises(UserError, match="planted in a checkout"):
        bench_mistakes.main([])
