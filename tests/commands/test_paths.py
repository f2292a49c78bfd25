"""Every option that is a path reads it in the same way."""

from pathlib import Path

import pytest

from lm_jax import evaluate, load, load_model, train
from lm_jax.__main__ import main
from lm_jax.errors import UserError
from tests.tiny import write_tiny

TRAIN = ["train", "tiny.py"]
VECTORS = ["--initial", "InitialVectors", "--initial.path"]
KEPT = ["--data.tokenizer", "Kept", "--data.tokenizer.run"]
PLACES = {
    "train": ["train"],
    "run": [*TRAIN, "--run"],
    "from": [*TRAIN, "--from"],
    "initial.run": [*TRAIN, "--initial", "FromRun", "--initial.run"],
    "initial.path": [*TRAIN, *VECTORS],
    "tokenizer": [*TRAIN, *KEPT],
    "show": ["show"],
    "evaluate": ["evaluate"],
    "generate": ["generate"],
    "inspect": ["inspect"],
    "table": ["table"],
    "vectors": ["vectors"],
    "out": ["vectors", "vectors.txt", "--out"],
    "diff": ["diff", "tiny.py"],
    "json": ["bench", "train", "--json"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A place with a tiny experiment, and a home beside it."""
    place = tmp_path / "place"
    place.mkdir()
    write_tiny(place)
    (place / "vectors.txt").write_text("the 1 2\ncat 2 1\n")
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return place


def refused(capsys, *args):
    """The message of a command that must end with 2 and leave nothing."""
    try:
        code = main(list(args))
    except SystemExit as end:  # tyro's own
        code = end.code
    said = capsys.readouterr()
    assert code == 2, said
    left = {path.name for path in Path().iterdir()}
    assert left <= {"text.txt", "tiny.py", "vectors.txt", ".lm_jax"}
    return " ".join(said.err.split())


def refused_there(capsys, *args):
    """The message of a command that must end with 2."""
    capsys.readouterr()
    assert main(list(args)) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("place", PLACES)
def test_an_empty_path_is_refused_everywhere(place, capsys):
    assert "is empty: give a path" in refused(capsys, *PLACES[place], "")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("given", ["a\nb", "\x1b[2J"])
def test_so_is_a_control_character_and_it_is_not_printed(place, given, capsys):
    said = refused(capsys, *PLACES[place], given)
    assert "control character" in said and "\x1b" not in said


READ = sorted(PLACES.keys() - {"run", "out", "json", "train", "show"})


@pytest.mark.parametrize("place", READ)
def test_a_tilde_is_the_home(place, capsys, tmp_path):
    said = refused(capsys, *PLACES[place], "~/nothing")
    assert str(tmp_path / "home" / "nothing") in said.replace(" ", "")


def test_what_is_made_is_made_at_home(capsys, tmp_path):
    from lm_jax.commands.asked import resolve

    assert resolve(["tiny.py", "--run", "~/x"], "train")[1] == tmp_path / "home/x"
    (tmp_path / "home").mkdir()
    write_tiny(tmp_path / "home")
    assert load("~/tiny.py").name == "tiny"
    assert main(["vectors", "vectors.txt", "--out", "~/out.txt"]) == 0
    assert (tmp_path / "home/out.txt").read_text().startswith("2 2\n")


def test_a_text_lies_at_home(capsys, tmp_path):
    source = ["--data.corpus.source"]
    said = refused(capsys, *TRAIN, *source, "~/nothing.txt")
    assert str(tmp_path / "home/nothing.txt") in said.replace(" ", "")
    said = refused(capsys, *TRAIN, *source, "~nobody-of-this-name/a.txt")
    assert "no file or folder ~nobody-of-this-name/a.txt" in said


@pytest.mark.parametrize("call", [train, evaluate, load_model])
def test_python_reads_paths_as_the_commands_do(call, tmp_path):
    experiment = [load("tiny.py").experiment] if call is train else []
    with pytest.raises(UserError, match="is empty"):
        call(*experiment, "")


def test_a_run_or_text_gets_the_nearest_that_is_there(capsys, folder):
    (folder / "text_folder").mkdir()
    source = ["--data.corpus.source"]
    said = refused_there(capsys, *TRAIN, *source, "texts_folder")
    assert "Did you mean 'text_folder'?" in said
    said = refused_there(capsys, "evaluate", "txet_folder/run")
    assert "Did you mean" not in said


def test_another_text_says_that_it_leaves_the_prompt_out(folder):
    from lm_jax.commands.asked import resolve

    other = ["tiny.py", "--data.corpus.source", "vectors.txt"]
    named, _, (said,) = resolve(other, "train")
    assert "--evaluations.sample.prompt 'the ' belongs to the text" in said
    assert named.experiment.evaluations["sample"].prompt is None
    for prompt in ("None", "a"):
        typed = [*other, "--evaluations.sample.prompt", prompt]
        assert not resolve(typed, "train").dropped
    assert not resolve(["tiny.py"], "train").dropped


def test_that_the_working_directory_is_gone_is_said(folder, monkeypatch, capsys):
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for command in (["runs"], ["train", str(folder / "tiny.py")]):
        assert main(command) == 2
        assert "was deleted: change to one" in capsys.readouterr().err
    monkeypatch.chdir(folder)
