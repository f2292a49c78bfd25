from pathlib import Path

import pytest

from lm_jax.commands import test as command
from lm_jax.errors import UserError

# mypy needs a file, pytest a test, ruff both of them in order.
FILES = {
    "pyproject.toml": "[tool.mypy]\nfiles = ['lm_jax']\n"
    "[tool.pytest.ini_options]\nmarkers = ['slow: takes long']\n",
    "lm_jax/__init__.py": "",
    "tests/test_it.py": "def test_it():\n    assert True\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A small project that passes everything."""
    for name, text in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(command, "_ROOT", tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.slow
def test_each_check_that_fails_is_named_until_all_pass(project, capfd):
    (project / "lm_jax/bad.py").write_text("import os\nx : int = ''\n")
    (project / "tests/test_it.py").write_text("def test_it():\n    assert 1 > 2\n")
    assert command.main([]) == 1
    summary = capfd.readouterr().out.splitlines()[-1]
    assert summary == "Failed: ruff format, ruff check, mypy, pytest tests"
    (project / "lm_jax/bad.py").unlink()
    (project / "tests/test_it.py").write_text(FILES["tests/test_it.py"])
    assert command.main(["--all"]) == 0
    assert "All passed." in capfd.readouterr().out


@pytest.mark.slow
def test_arguments_go_to_pytest_alone(project, capfd):
    (project / "lm_jax/bad.py").write_text("import os\nx : int = ''\n")
    assert command.main(["-q", "-k", "test_it"]) == 0
    assert "1 passed" in capfd.readouterr().out
    assert command.main(["-q", "-k", "no_such"]) == 1


def test_paths_are_relative_to_the_working_directory(project, capfd):
    Path("test_mine.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    assert command.main(["-q", "test_mine.py::test_b"]) == 0
    assert "1 passed" in capfd.readouterr().out


SLOW = """
import os

import pytest


@pytest.mark.slow
def test_long():
    raise ValueError


def test_short():
    assert os.environ["JAX_COMPILATION_CACHE_DIR"].endswith("project/.lm_jax/tests")
"""


def test_what_is_slow_is_for_all_and_for_those_who_name_it(project, capfd, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(command, "_CHECKS", [])
    (project / "tests/test_slow.py").write_text(SLOW.lstrip())
    assert command.main([]) == 0
    said = capfd.readouterr().out
    assert "2 passed" in said and "failed" not in said
    assert "All passed; --all has slow tests." in said
    assert command.main(["-q", str(project / "tests/test_slow.py")]) == 1
    assert "1 failed, 1 passed" in capfd.readouterr().out


@pytest.mark.slow
def test_all_runs_what_is_slow(project, capfd, monkeypatch):
    monkeypatch.setattr(command, "_CHECKS", [])
    (project / "tests/test_slow.py").write_text(SLOW.lstrip())
    assert command.main(["--all"]) == 1
    assert "ValueError" in capfd.readouterr().out


def test_help_says_what_all_does_and_runs_nothing(capfd):
    assert command.main(["--help"]) == 0
    said = capfd.readouterr().out
    assert "--all   the slow proofs too" in said
    assert "==" not in said


def test_a_package_without_its_tests_says_so(project, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_ROOT", tmp_path / "elsewhere")
    for args in ([], ["--all"], ["-k", "rotary"]):
        with pytest.raises(UserError, match="not installed: they come with a checkout"):
            command.main(args)
