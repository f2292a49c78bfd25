"""The commands that look at a run: a batch, a text, pairs of sentences."""

import json
import os
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.runs.model import load_model
from tests.commands.test_commands import printed, refused
from tests.inspection.test_probing import PAIRS, blimp
from tests.tiny import write_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looked")
    write_tiny(folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "tiny.py", "--run", "run"]) == 0
        yield folder
    finally:
        os.chdir(here)


def test_a_text_is_shown_in_each_form(folder, capsys):
    text = "the cat sees"  # shorter than the context, with what it begins after
    said = printed(capsys, "inspect", "run", "--text", text, "--html", "page.html")
    assert "12 are scored" in said and "The page is in page.html." in said
    page = Path("page.html").read_text()
    assert page.startswith("<!doctype html>") and "run, step" in page
    args = ("inspect", "run", "--text", text, "--alternatives", "2", "--json")
    made = json.loads(printed_json(capsys, *args, "--attention"))
    model = load_model("run")
    assert made["step"] == model.step and len(made["tokens"]) == 13
    assert made["run"] == "run" and len(made["attention"]) == 1
    assert f"{made['log_probability']:.6f} nats" in said


def printed_json(capsys, *args):
    capsys.readouterr()
    assert main(list(args)) == 0
    return capsys.readouterr().out


def test_a_batch_is_shown_as_before(folder, capsys):
    said = printed(capsys, "inspect", "run")
    assert said.startswith("step 1: rows 0 to 7 of the order")
    assert said == printed(capsys, "inspect", "run", "--step", "1")
    assert "input -> target" in printed(capsys, "inspect", "run", "--row", "2")


def test_pairs_are_probed(folder, capsys):
    blimp(folder / "pairs.jsonl")
    said = printed(capsys, "probe", "run", "pairs.jsonl")
    assert f"{len(PAIRS)} pairs, each scored" in said
    assert "log-likelihood: each token given those before it" in said
    assert "field order" in said and "1 ties" in said
    made = json.loads(printed_json(capsys, "probe", "run", "pairs.jsonl", "--json"))
    assert f"{made['share']:.4f}, {made['low']:.4f} to {made['high']:.4f}" in said
    assert made["formulation"] == "log-likelihood" and made["pairs"] == len(PAIRS)
    assert len(made["scores"]) == len(PAIRS)


def test_what_does_not_go_together_is_refused(folder, capsys):
    blimp(folder / "pairs.jsonl")
    text = ("inspect", "run", "--text", "the")
    for args, message in (
        (("inspect", "run", "--html", "x.html"), "--html is of a text: give --text"),
        ((*text, "--row", "1"), "--row is of a batch"),
        ((*text, "--attention"), "shown by --html FILE or --json"),
        ((*text, "--alternatives", "0"), "alternatives=0"),
        (("inspect", "run", "--text", ""), "has no token"),
        (("inspect", "run", "--text", "Ü"), "lacks 'Ü'"),
        (("probe", "run", "nothing.jsonl"), "nothing.jsonl"),
        (("probe", "run", "tiny.py"), "ends in .jsonl, .csv or .tsv"),
        (
            ("probe", "run", "pairs.jsonl", "--formulation", "tokens"),
            "from left to right",
        ),
        (
            ("probe", "run", "pairs.jsonl", "--category", "filed"),
            "Did you mean 'field'?",
        ),
        (("evaluate", "run", "--limit", "3"), "give --tasks"),
        (("evaluate", "run", "--tasks", "x", "--split", "test"), "leave out all"),
    ):
        assert message in refused(capsys, *args)


@pytest.mark.slow
def test_a_task_that_is_not_there_is_refused(folder, capsys):
    pytest.importorskip("lm_eval")
    args = ("evaluate", "run", "--tasks", "no-such-task")
    assert "no task of that name" in refused(capsys, *args)
