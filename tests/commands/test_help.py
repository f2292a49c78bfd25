"""What --help says: whole sentences, and lines that are full before they break."""

import re

import pytest

from lm_jax.commands.evaluate import Options as Evaluate
from lm_jax.commands.fields_help import fields_help
from lm_jax.commands.generate import Options as Generate
from lm_jax.commands.help import tyro_help
from lm_jax.commands.laws import Options as Laws
from lm_jax.commands.merge import Options as Merge
from lm_jax.commands.report import Options as Report
from lm_jax.commands.runs import Options as Runs
from lm_jax.commands.watch import Options as Watch
from lm_jax.experiment import load
from tests.tiny import write_tiny


def broken(text):
    """Lines whose next one goes on with them, though its first word had room."""
    found = []
    lines = text.splitlines()
    for line, after in zip(lines, lines[1:], strict=False):
        option = re.match(r" *\S+( \S+)* {2,}(?=\S)", line)
        start = option.end() if option else len(line) - len(line.lstrip())
        words = after.split()
        same = words and len(after) - len(after.lstrip()) == start
        text = line.strip() and not re.match(r" *-", line)
        fits = words and len(line) + 1 + len(words[0]) <= 78
        if same and text and fits and not words[0].startswith("-"):
            found.append(line)
    return found


@pytest.mark.parametrize("kind", [Evaluate, Generate, Report, Runs, Watch])
def test_the_help_of_a_command_has_full_lines(kind):
    said = tyro_help(kind, "lm_jax it")
    assert broken(said) == []
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("kind", [Laws, Merge, Report])
def test_examples_are_called_as_the_program_was(kind, monkeypatch):
    monkeypatch.setenv("LM_JAX_CALLED", "./mine")
    said = tyro_help(kind, "./mine it")
    assert "    ./mine " in said and "./launch.sh" not in said


def test_so_has_that_of_the_fields(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = fields_help(load("tiny.py"), "tiny.py", "train").partition("\nfields\n")[2]
    assert broken(said) == []
    assert "scored once, with at least context - stride before it." in " ".join(
        said.split()
    )
