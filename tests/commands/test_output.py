"""Commands as processes: their output closes, fills up, or takes only ASCII."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_jax.__main__ import is_kept, main
from lm_jax.generation import Sampling
from lm_jax.runs.model import load_model
from lm_jax.runs.result import read_result
from tests.tiny import write_tiny

ROOT = Path(__file__).parents[2]
ASCII = {
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}
COUNTED = '''"""Chinese 3-grams: the fastest run there is.

Run:     ./launch.sh train counted.py
Expect:  nothing
Source:  none
"""

from lm_jax.counting import NGram
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = CountExperiment(
    TokenStream(Corpus("诗.txt", validation=0.1, test=0.1), Characters(True), 8),
    NGram(3),
    evaluations={"likelihood": Likelihood(), "sample": Sample(prompt="春", length=9)},
)
'''


def lm_jax(args, redirected="", **variables):
    """A command under a shell; its arguments may be of any bytes."""
    script = f'exec "$0" -m lm_jax "$@" {redirected}'
    return subprocess.run(
        ["sh", "-c", script, sys.executable, *args],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    folder, here = tmp_path_factory.mktemp("counted"), Path.cwd()
    (folder / "诗.txt").write_text(
        "春眠不觉晓处处闻啼鸟。\n夜来风雨声花落知多少。\n" * 60, "utf-8"
    )
    (folder / "counted.py").write_text(COUNTED, "utf-8")
    os.chdir(folder)
    yield folder
    os.chdir(here)


def test_a_command_whose_output_fills_up_says_so(counted):
    done = lm_jax(["--help"], ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"Not all could be printed: No space left on device.\n"


def test_output_may_be_lost_where_files_have_it_too():
    kept = ["train a.py", "sweep a.py", "evaluate RUN", "contest a.py b.py --json"]
    assert all(is_kept(line.split()) for line in kept)
    printed = ["evaluate RUN --json", "sweep a.py --json", "sweep a.py --preview"]
    printed += ["train a.py --dry-run", "evaluate --help", "table", "--help"]
    assert not any(is_kept(line.split()) for line in [*printed, ""])


def test_a_reader_that_has_enough_is_told_nothing(counted):
    done = lm_jax(["help"], "| head -c 1")
    assert (done.stdout, done.stderr) == (b"u", b"")


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_mistake_keeps_its_exit_code(counted, redirected):
    assert lm_jax(["trian"], redirected).returncode == 2


def test_a_command_in_another_script_is_understood_in_ascii(counted):
    done = lm_jax(["春"], **ASCII)
    assert done.returncode == 2
    assert b"'\\u6625'" in done.stderr


@pytest.mark.slow
def test_a_run_ends_and_is_scored_and_writes_without_its_output(counted):
    """All with Chinese in text, prompt and path, where only ASCII can be written."""
    run = counted / "runs/春"
    done = lm_jax(["train", "counted.py", "--run", "runs/春"], ">/dev/full", **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    scores = read_result(run)["scores"]
    assert scores and "--- step 1 ---" in (run / "samples.txt").read_text("utf-8")

    done = lm_jax(["evaluate", "runs/春", "--split", "test"], ">&-", **ASCII)
    said = b"reading runs/\\u6625, and compiling\n"
    assert (done.returncode, done.stderr) == (0, said)
    (new,) = read_result(run)["scores"][len(scores) :]
    assert new["split"] == "test"

    asked = ["generate", "runs/春", "--prompt", "春眠", "--length", "3"]
    done = lm_jax(asked, **ASCII)
    assert done.returncode == 0 and done.stderr.startswith(said + b"Settings: ")
    escaped = done.stdout.decode("ascii").encode().decode("unicode_escape")
    drawn = Sampling(temperature=0.8)
    (text,) = load_model(run).generate(("春眠",), 3, drawn, 0)
    assert escaped == text + "\n"

    done = lm_jax(["inspect", "runs/春", "--text", "春眠"], **ASCII)
    assert done.returncode == 0 and b"\\u7720" in done.stdout


@pytest.mark.slow
def test_a_neural_training_ends_without_its_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    done = lm_jax(["train", "tiny.py", "--run", "run"], ">/dev/full")
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_result(Path("run"))["steps"] == 12 and Path("run/curve.png").exists()


def test_long_values_and_names_are_wrapped(capsys):
    from lm_jax.commands import diff

    value = "('^an_expression_of_a_parameter/.*$', True), " * 4
    diff._print("", [("optimizer.decays", value, "x" * 200)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("x") == 200 + value.count("x")


def test_the_title_of_a_table_is_wrapped(tmp_path, capsys):
    result = {
        "corpus": "a/long/path/of/a/corpus/" * 4,
        "policy": "windows",
        "watch": "w",
        "steps": 1,
        "scores": [],
        "parameters": 1,
        "tokens": 1,
        "seconds": 1.0,
    }
    place = {"evaluation": "w", "split": "validation", "step": 1, "policy": "windows"}
    result["scores"] = [place | {"corpus": result["corpus"], "scores": {"loss": 1.0}}]
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert main(["table", str(tmp_path)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
