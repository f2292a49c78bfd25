"""Every command on a small run, and one message for each kind of bad input."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import COMMANDS, main
from lm_jax.commands.asked import resolve
from lm_jax.commands.inspect import _print_row
from lm_jax.data.texts import unpadded
from lm_jax.experiment import load
from lm_jax.runs.result import read_result
from lm_jax.tokenizers import Characters
from tests.tiny import write_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with text.txt, tiny.py and a trained run."""
    folder = tmp_path_factory.mktemp("trained")
    write_tiny(folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "tiny.py", "--run", "run"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy that a test may spoil."""
    place = tmp_path / "copy"
    shutil.copytree(trained, place)
    monkeypatch.chdir(place)
    return place


def refused(capsys, *args):
    """The message of a command that must end with 2 and no traceback."""
    capsys.readouterr()
    try:
        code = main(list(args))
    except SystemExit as end:  # tyro's own
        code = end.code
    said = capsys.readouterr()
    assert code == 2, said
    assert "Traceback" not in said.err
    return " ".join((said.err + said.out).split())


def printed(capsys, *args):
    """What a command that succeeds prints; it fits 80 columns."""
    capsys.readouterr()
    assert main(list(args)) == 0
    said = capsys.readouterr().out
    if args[:1] != ("generate",):
        assert max(map(len, said.splitlines())) <= 80
    return said


def test_the_version_is_said(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lm_jax 0.")


def test_help_names_every_command(capsys):
    said = printed(capsys)
    for name in COMMANDS:
        assert name in said
    for name in COMMANDS:
        if name in ("test", "doctor"):
            continue
        try:
            code = main([name, "--help"])
        except SystemExit as end:
            code = end.code
        assert code == 0
        said = capsys.readouterr().out
        assert len(said) > 150
        assert max(map(len, said.splitlines())) <= 80
        # A switch is given by its name alone.
        assert "{True,False}" not in said


@pytest.mark.parametrize("command", ["runs", "table"])
def test_what_only_reads_does_not_wait_for_jax(command, folder):
    """jax takes a second to import, and these compute nothing."""
    said = "import sys, lm_jax.__main__ as m; code = m.main(sys.argv[1:]); "
    said += "sys.exit(code or 'jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", said, command, "."], check=True)


def test_generate_writes_one_of_some_choices(folder, capsys):
    pytest.importorskip("llguidance")
    asked = ("--prompt", "the ", "--choices", "mouse", "moon")
    chosen = printed(capsys, "generate", "run", "--length", "30", *asked)
    assert chosen.strip() in ("the mouse", "the moon")


def test_generate_continues_each_prompt_and_repeats_itself(folder, capsys):
    greedy = ("generate", "run", "--length", "30", "--temperature", "0")
    said = printed(capsys, *greedy, "--prompt", "the cat")
    assert said.startswith("the cat") and len(said) == len("the cat") + 30 + 1
    assert said == printed(capsys, *greedy, "--prompt", "the cat", "--seed", "5")
    long = "a dog sees the " * 8
    assert printed(capsys, *greedy, "--prompt", long).startswith(long)
    both = printed(capsys, *greedy, "--prompt", "the cat", "a")
    assert said in both and "--- prompt 2 ---" in both
    searched = ("--beam.size", "2", "--prompt", "a", "--top-p", "0.9")
    assert main([*greedy[:4], *searched, "--presence-penalty", "0.1"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Settings: size 2 (given), length_penalty 1.0 (default), best 1" in said
    assert "presence_penalty 0.1 (given), length 30 (given)" in said
    assert "top_p" not in said and "prompt of" not in said
    assert main([*greedy, "--prompt", "a", "--stop", "zz", "--stream", "True"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "No stop string came in 1 of 1 texts: they are cut off after 30" in said
    drawn = [
        printed(capsys, "generate", "run", "--temperature", "1", "--seed", seed)
        for seed in ("1", "1", "2")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert main(["generate", "run", "--top-k", "3", "--seed", "1"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Settings: temperature 0.8 (default), top_k 3 (given), length 500" in said
    assert "seed 1 (given)" in said and "(the best), the prompt of the run's" in said


def test_evaluate_scores_each_split(folder, capsys):
    train, held_out = (
        printed(capsys, "evaluate", "run", "--split", split)
        for split in ("train", "validation")
    )
    assert "1,687 bytes" in train and "187 tokens of 188 bytes" in held_out
    assert "bits per byte" in held_out


@pytest.mark.slow
def test_evaluate_on_one_device_what_eight_trained(folder):
    """A fresh process with one device reads the checkpoint of eight."""
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "lm_jax", "evaluate", "run"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nats per token" in done.stdout


def test_a_run_is_read_where_its_batch_cannot_be_divided(folder, capsys, monkeypatch):
    import jax

    three = jax.devices()[:3]
    monkeypatch.setattr(jax, "devices", lambda: three)
    assert "nats per token" in printed(capsys, "evaluate", "run")
    assert "can't be divided" in refused(capsys, "train", "tiny.py", "--run", "run")


def test_a_line_end_is_escaped_once(capsys):
    tokenizer = Characters().train(["a\n\\"])
    ids = tokenizer.encode("a\n\\a")
    _print_row(tokenizer, {"inputs": ids[:-1], "targets": ids[1:]})
    lines = capsys.readouterr().out.splitlines()[1:]
    pairs = [line.split(maxsplit=1)[1] for line in lines]
    assert pairs == [r"'a' -> '\n'", r"'\n' -> '\'", r"'\' -> 'a'"]


@pytest.mark.parametrize(
    "command",
    [("evaluate",), ("inspect",), ("train", "tiny.py", "--run")],
    ids=lambda command: command[0],
)
def test_another_text_than_the_run_began_with_is_refused(command, folder, capsys):
    with open("text.txt", "a") as file:
        file.write(" the end")
    before = Path("run/data.json").read_bytes()
    said = refused(capsys, *command, "run")
    assert "another text than there is now" in said and "train: " in said
    assert Path("run/data.json").read_bytes() == before


@pytest.mark.slow
def test_show_lists_every_parameter_and_whether_it_decays(folder, capsys):
    rates = ["--optimizer.rates", "norm", "0.5", ".*", "1"]
    frozen = ["--frozen", "down/", "True", ".*", "False"]
    said = printed(capsys, "show", "tiny.py", *rates, *frozen, "--fsdp", "2")
    line = next(row for row in said.splitlines() if "block_0/up/kernel" in row)
    assert "16 x 64" in line and "1,024" in line and line.endswith("yes")
    line = next(row for row in said.splitlines() if "attention_norm/scale" in row)
    assert line.endswith("no, rate x 0.5")
    line = next(row for row in said.splitlines() if "block_0/down/kernel" in row)
    assert line.endswith("frozen")
    assert "FLOPs a token" in said and "a device holds" in said
    _, placed = said.split("layout: 4 data x 2 fsdp\n")
    line = next(row for row in placed.splitlines() if "block_0/up/kernel" in row)
    assert line.split()[-4:] == ["2.048", "kB", "(fsdp,", "None)"]


@pytest.mark.slow
def test_diff_of_runs_and_files(folder, capsys):
    printed(capsys, "train", "tiny.py", "--run", "other", "--model.layers", "2")
    said = printed(capsys, "diff", "run", "other")
    assert "model.layers\n  - 1\n  + 2" in said and "validation loss" in said
    assert printed(capsys, "diff", "tiny.py", "run") == "The experiments are equal.\n"


def test_runs_whose_text_is_gone_are_compared_by_what_they_keep(folder, capsys):
    Path("text.txt").unlink()
    capsys.readouterr()
    assert main(["diff", "run", "run"]) == 0
    out, err = capsys.readouterr()
    assert "validation loss" in out and "can be compared.\n" in out
    assert err.count("text.txt") == 1 and "Compared by what the runs keep:" in err
    shutil.copytree("run", "other")
    about = json.loads(Path("run/data.json").read_text()) | {"digest": "another"}
    Path("other/data.json").write_text(json.dumps(about))
    assert "only bits per byte can be compared" in printed(
        capsys, "diff", "run", "other"
    )
    Path("other/result.json").write_text("{}")
    said = printed(capsys, "diff", "run", "other")
    assert "can't be compared:\n  other/result.json lacks corpus," in said


def test_a_changed_recipe_has_no_published_figure(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = Path("tiny.py").read_text()
    text = text.replace("    average=", "    published=Published(1.0, 'us'), average=")
    Path("tiny.py").write_text(
        text.replace("import Experiment\n", "import Experiment, Published\n")
    )
    for args, there in (
        (["tiny.py", "--seed", "1", "--keep", "3"], True),
        (["tiny.py", "--model.width", "8"], False),
        (["tiny.py", "--model.width", "8", "--published.value", "2"], True),
        (["tiny.py:recurrent"], False),
    ):
        named, *_ = resolve(args, "train")
        assert (named.experiment.published is not None) is there


def test_padding_is_no_text():
    ids = np.array([7, 8, 9, 0, 0])
    batch = {"mask": np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])}
    assert unpadded(ids, batch, 0).tolist() == [7, 8, 9]
    assert unpadded(ids, {}, 0).tolist() == ids.tolist()
    assert unpadded(ids[:4], batch, 0).tolist() == [7, 8, 9, 0]


def test_inspect_prints_what_the_step_saw(folder, capsys):
    said = printed(capsys, "inspect", "run", "--step", "3")
    assert "rows 16 to 23" in said and "--- row 7 ---" in said
    text = Path("text.txt").read_text()[:1687]
    for part in said.split("--- row ")[1:]:
        row = part.split("---\n", 1)[1].removesuffix("\n")
        assert len(row) == 16 and row in text
    assert "at step 12" not in said
    assert "at step 12" in printed(capsys, "inspect", "run", "--step", "13")
    row = printed(capsys, "inspect", "run", "--step", "3", "--row", "7")
    assert len(row.splitlines()) == 2 + 16 and " -> " in row


BAD = {
    "unknown option": (["--model.layer", "3"], "--model.layers"),
    "unknown corpus": (["--data.corpus.source", "tinyshakespear"], "LM_JAX_DATA"),
    "missing file": (["--data.corpus.source", "./no.txt"], "no.txt"),
    "heads and width": (["--model.heads", "3"], "nearest that does: 2"),
    "batch and devices": (["--batch", "12"], "8 or 16"),
    "batch and parts": (["--accumulate", "3"], "24"),
    "no duration": (["--budget", "a while"], "budget: 'a while' is not a duration"),
    "another model": (["--model", "Recurrent"], "--model.layers"),
    "no duration for the warmup": (["--schedule.warmup", "5"], "'5'"),
    "short split": (["--data.context", "5000"], "5000"),
    "no such mesh": (["--fsdp", "3"], "there are 8"),
    "vocabulary": (["--model.vocab-size", "7"], "22 tokens"),
    "short positions": (["--model.positions.length", "8"], "context of 16"),
    "unknown output": (["--outputs", "tensorbord"], "tensorboard"),
    "prompt": (["--evaluations.sample.prompt", "THE 9"], "9"),
    "sampling": (["--evaluations.sample.sampling.top-p", "2"], "top_p"),
    "selector": (["--optimizer.decays", "kernel", "True"], "optimizer.decays"),
    "patience": (["--patience", "0"], "patience"),
    "average": (["--average.decay", "1"], "average.decay"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message_before_anything_is_written(name, folder, capsys):
    args, words = BAD[name]
    said = refused(capsys, "train", "tiny.py", "--run", "new", *args)
    assert words in said
    assert not Path("new/checkpoints").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"abc \xff\xfe abc" * 50, "UTF-8"), (None, "text.txt")],
)
def test_a_text_that_cannot_be_read_is_named(content, words, folder, capsys):
    Path("text.txt").unlink()
    if content is not None:
        Path("text.txt").write_bytes(content)
    assert words in refused(capsys, "train", "tiny.py", "--run", "new")


def test_commands_name_what_they_lack(folder, capsys):
    assert "train" in refused(capsys, "trian")
    assert "run" in refused(capsys, "generate", "runn")
    assert "no checkpoint" in refused(capsys, "evaluate", empty_run())
    assert "4, 8, 12" in refused(capsys, "evaluate", "run", "--step", "5").replace(
        "[", ""
    ) or "8, 12" in refused(capsys, "evaluate", "run", "--step", "5")
    assert "'Z'" in refused(capsys, "generate", "run", "--prompt", "Z")
    assert "test" in refused(capsys, "evaluate", "run", "--split", "test")
    assert "rows are 0 to 7" in refused(capsys, "inspect", "run", "--row", "8")
    assert "first step is 1" in refused(capsys, "inspect", "run", "--step", "0")


def empty_run():
    shutil.copytree("run", "empty")
    shutil.rmtree("empty/checkpoints")
    return "empty"


def test_a_run_in_use_or_in_the_way_is_refused(folder, capsys):
    from lm_jax.runs.directory import open_run

    with open_run(Path("run")):
        assert str(os.getpid()) in refused(capsys, "train", "tiny.py", "--run", "run")
    assert "in the way" in refused(capsys, "train", "tiny.py", "--run", "text.txt")


@pytest.mark.skipif(
    not shutil.which("mount") or os.geteuid() != 0, reason="mounting needs root"
)
def test_a_full_disk_and_a_read_only_one_are_named(folder, capsys):
    place = folder / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(place)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    try:
        said = refused(capsys, "train", "tiny.py", "--run", "disk/run")
        assert "full" in said and "disk/run" in said
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        said = refused(capsys, "train", "tiny.py", "--run", "disk/new")
        assert "read-only" in said
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def said_as_json(capsys, *args):
    """The one object that a command prints, and nothing else."""
    capsys.readouterr()
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_scores_are_one_object_for_programs(folder, capsys):
    said = said_as_json(capsys, "evaluate", "run", "--context", "4")
    assert (said["run"], said["split"], said["texts"]) == ("run", "validation", [])
    entry = read_result(Path("run"))["scores"][-1]
    assert said["scores"] == entry["scores"] and said["step"] == entry["step"]
    assert said["seen_before_each"] == "disjoint windows of 4 tokens"


def test_a_table_is_one_object_for_programs(folder, capsys):
    (run,) = said_as_json(capsys, "table", ".", "--measure", "validation loss")["runs"]
    (score,) = read_result(Path("run"))["scores"]
    assert run["last"] == score["scores"]["loss"] and run["published"] is None
    assert (Path(run["run"]).name, run["seed"]) == ("run", 0)
    assert "one of --csv" in refused(capsys, "table", ".", "--csv", "--json")


@pytest.mark.slow
def test_what_an_experiment_resolves_to_is_one_object(folder, capsys):
    said = said_as_json(capsys, "show", "tiny.py", "--optimizer.weight-decay", "0.1")
    values = said["experiment"]
    assert values["data.context"] == 16 and values["data.corpus.source"] == "text.txt"
    assert values["initial"] is None and values["model"] == "Transformer"
    counts = [math.prod(each["shape"]) for each in said["parameters"]]
    assert sum(counts) == said["resolved"]["parameters"]
    assert said["resolved"]["memory"]["parameters"] == 4 * sum(counts)
    decaying = {each["name"] for each in said["parameters"] if each["decays"]}
    assert any(name.endswith("kernel") for name in decaying)
    assert not any(name.endswith("scale") for name in decaying)
    assert values["optimizer.weight_decay"] == 0.1


def test_a_difference_is_one_object(folder, capsys):
    said = said_as_json(capsys, "diff", "tiny.py", "tiny.py:recurrent")
    (kind,) = [each for each in said["recipe"] if each["name"] == "model"]
    assert (kind["a"], kind["b"]) == ("Transformer", "Recurrent")
    assert {each["name"] for each in said["parameters"]} and len(said["obstacles"]) == 1
    (count,) = [each for each in said["resolved"] if each["name"] == "parameters"]
    assert count["a"] != count["b"]
    said = said_as_json(capsys, "diff", "run", "run")
    (loss,) = [e for e in said["results"] if e["name"] == "validation loss"]
    assert loss["a"] == loss["b"] and said["recipe"] == said["learning rate"] == []


def test_a_batch_is_one_object(folder, capsys):
    said = said_as_json(capsys, "inspect", "run", "--step", "2")
    text = printed(capsys, "inspect", "run", "--step", "2", "--row", "0")
    rows = said["rows"]
    assert said["step"] == 2 and len(rows) == load("tiny.py").experiment.batch
    assert len(rows[0]["arrays"]["inputs"]) == text.count("' -> '")
    assert rows[0]["text"] in Path("text.txt").read_text("utf-8")
    (row,) = said_as_json(capsys, "inspect", "run", "--step", "2", "--row", "1")["rows"]
    assert row == rows[1]
