"""Runs of adapters leave the parameters of their base where they are."""

import itertools
import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from lm_jax.__main__ import main
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.learnt import by_path
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.training import setup as setting_up
from tests.tiny import write_tiny

pytestmark = pytest.mark.slow
LORA = ("--from", "base", "--adapter", "LoRA", "--adapter.rank", "2")
CONSTANT = ("--schedule", "Constant", "--schedule.peak", "1e-2")
MEAN = ("--average", "LastCheckpoints", "--average.count", "3")
DEVICES = jax.devices()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run "base", and two of adapters over it, in whose place others may be."""
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    try:
        assert train("base", "--average", "None", "--budget", "4 steps") == 0
        assert train("lora", *LORA, *CONSTANT, *MEAN) == 0
        more = ("--adapter.matrices", "kernel$", "True", ".*", "False", "--seed", "1")
        assert train("other", *LORA, *CONSTANT, *more, "--average", "None") == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture(autouse=True)
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    monkeypatch.setattr(jax, "devices", lambda *_: DEVICES[:1])


def train(run, *args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: DEVICES[:1])
        return main(["train", "tiny.py", "--run", run, *args])


def params(run, step=None):
    return {k: np.asarray(v) for k, v in by_path(load_model(run, step).params).items()}


def same(a, b):
    assert a.keys() == b.keys()
    for path, array in a.items():
        np.testing.assert_array_equal(array, b[path], err_msg=path)


def logits(run):
    loaded = load_model(run)
    ids = jnp.asarray(loaded.tokenizer.encode("the cat sees"))[None]
    return np.asarray(loaded.model.apply({"params": loaded.params}, ids)[0])


def saved(run, item="params"):
    steps = sorted(int(path.name) for path in Path(run, "checkpoints").iterdir())
    about = Path(run, "checkpoints", str(steps[-1]), item, "_METADATA")
    found = json.loads(about.read_text())["tree_metadata"].values()
    return {
        "/".join(str(key["key"]) for key in leaf["key_metadata"])
        for leaf in found
        if leaf["value_metadata"]["value_type"] != "None"
    }


def said(capsys):
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def test_checkpoints_hold_adapters_alone():
    for item in ("params", "average"):
        assert saved("lora", item) == {
            f"block_0/attention/{name}/kernel_lora/{part}"
            for name in ("query", "value")
            for part in "ab"
        }
    stated = {path for path in saved("lora", "rest") if "block_0" in path}
    assert stated and all("_lora" in path for path in stated)
    assert set(json.loads(Path("lora/base.json").read_text())["left"]) == set(
        by_path(load_model("base").params)
    )


def test_what_is_trained_beside_adapters_or_begins_anew_is_held_too():
    wider = ("--model.positions.length", "24", "--initial.resized", "positions")
    whole = ("--adapter.whole", "^norm/", "--average", "None", "--budget", "2 steps")
    assert train("more", *LORA, *whole, *wider) == 0
    held = {path for path in saved("more") if "_lora" not in path}
    assert held == {"norm/scale", "positions/embedding"}
    assert params("more")["positions/embedding"].shape == (24, 16)


def test_a_stopped_run_goes_on_as_if_it_never_had():
    assert train("parts", *LORA, *CONSTANT, *MEAN, "--budget", "8 steps") == 0
    assert train("parts", *LORA, *CONSTANT, *MEAN) == 0
    for run in ("parts", "lora"):
        assert saved(run, "average")
    same(params("parts"), params("lora"))
    rows = [read_metrics(Path(run, "metrics.jsonl")) for run in ("parts", "lora")]
    ends = [[r["parameters"] for r in each if "parameters" in r] for each in rows]
    assert ends[0] == ends[1] and len(ends[0]) == 3
    assert main(["verify", "parts"]) == 0
    assert main(["replay", "parts", "--step", "2"]) == 0


def test_the_mean_of_checkpoints_leaves_the_base_as_it_is():
    base, lora = params("base"), params("lora")
    for path in base.keys() - {
        f"block_0/attention/{n}/kernel" for n in ("query", "value")
    }:
        np.testing.assert_array_equal(lora[path], base[path], err_msg=path)


def test_a_base_keeps_the_checkpoint_that_adapters_stand_on(capsys):
    before = params("lora")
    keep = ("--average", "None", "--keep", "1")
    wsd = ("--schedule", "Constant")
    assert train("longer", *keep, *wsd, "--budget", "4 steps") == 0
    where = ("--initial.run", "longer")
    assert train("on", *LORA, *where, "--average", "None", "--budget", "2 steps") == 0
    assert train("longer", *keep, *wsd, "--budget", "20 steps") == 0
    steps = Checkpoints(Path("longer/checkpoints")).steps()
    assert 4 in steps and 8 not in steps and 20 in steps
    assert params("on").keys() == before.keys()
    assert main(["runs", "prune", "longer", "--yes"]) == 0
    assert 4 in Checkpoints(Path("longer/checkpoints")).steps()


def test_a_base_that_is_gone_is_named_and_found_where_it_is_said_to_be(capsys):
    before = params("lora")
    Path("base").rename("basis")
    for args in (["generate", "lora"], ["evaluate", "lora"]):
        assert main(args) == 2
        text = said(capsys)
        assert "lora holds adapters, and their base is gone: '../base' with" in text
        assert "of checkpoint 4 is not at base. Did you mean 'basis'?" in text
    assert train("lora", *LORA, *CONSTANT, *MEAN, "--budget", "16 steps") == 2
    assert "their base is gone" in said(capsys)
    about = json.loads(Path("lora/base.json").read_text())
    Path("lora/base.json").write_text(json.dumps(about | {"base": "../basis"}))
    same(params("lora"), before)
    assert train("lora", *LORA, *CONSTANT, *MEAN, "--budget", "16 steps") == 0


def test_adapters_without_their_base_json_are_refused_with_the_file(capsys):
    before, kept = params("lora"), Path("lora/base.json").read_text()
    Path("lora/base.json").unlink()
    begun = ["train", "tiny.py", "--run", "lora", *LORA, *CONSTANT, *MEAN]
    for args in (
        ["generate", "lora"],
        ["export", "lora", "out"],
        ["merge", "lora", "--run", "out"],
        [*begun, "--budget", "16 steps"],
        ["replay", "lora", "--step", "9"],
    ):
        assert main(args) == 2
        text = said(capsys)
        assert "lora holds adapters without what they change, block_0/atten" in text
        assert "and lora/base.json, which says where that lies, is gone. Put" in text
    assert not Path("out").exists() and not Path("lora/base.json").exists()
    Path("lora/base.json").write_text(kept)
    same(params("lora"), before)


def test_commands_open_a_run_of_adapters_as_any_other(capsys):
    """Written out it is its base with the sums; scored and compared it is itself."""
    assert main(["export", "lora", "out"]) == 0
    assert main(["merge", "lora", "--run", "alone"]) == 0
    assert main(["export", "alone", "again"]) == 0
    one, other = (load_file(f"{name}/model.safetensors") for name in ("out", "again"))
    same(one, other)
    assert not any("lora" in name for name in one)
    capsys.readouterr()
    scored = []
    for run in ("lora", "alone", "base"):
        assert main(["evaluate", run, "--json"]) == 0
        scored.append(json.loads(capsys.readouterr().out)["scores"]["loss"])
    assert scored[0] == scored[1] != scored[2]
    ends = {"base": ("a", 4), "lora": ("b", 12)}
    losses = {}
    for (run, (to, step)), seed in itertools.product(ends.items(), "01"):
        shutil.copytree(run, f"{to}/seed{seed}")
        asked = ["--step", str(step), "--items", "--json"]
        assert main(["evaluate", f"{to}/seed{seed}", *asked]) == 0
        loss = json.loads(capsys.readouterr().out)["scores"]["loss"]
        losses.setdefault(to, []).append(loss)
    assert main(["compare", "a", "b", "--json"]) == 3  # two seeds are too few
    found = json.loads(capsys.readouterr().out)
    assert found["scores"] == {to: pytest.approx(x) for to, x in losses.items()}
    assert found["items"]["mean"] == pytest.approx(found["difference"], abs=1e-6)


def test_runs_that_are_moved_together_find_each_other(monkeypatch, tmp_path):
    before = params("lora")
    shutil.copytree(".", tmp_path / "far")
    shutil.rmtree("base")
    monkeypatch.chdir("/")
    same(params(tmp_path / "far/lora"), before)


def test_a_base_that_is_another_now_is_refused(capsys):
    shutil.rmtree("base")
    assert train("base", "--average", "None", "--budget", "4 steps", "--seed", "9") == 0
    capsys.readouterr()
    assert main(["evaluate", "lora"]) == 2
    text = said(capsys)
    assert "lora holds adapters of '../base' with the parameters" in text
    assert "Put that back as it was" in text
    assert train("lora", *LORA, *CONSTANT, *MEAN, "--budget", "16 steps") == 2
    assert "Put that back as it was" in said(capsys)
    shutil.rmtree("base/checkpoints/4")
    assert main(["evaluate", "lora"]) == 2
    assert "lora holds adapters. Their base: " in said(capsys)


def test_a_merged_run_stands_alone(capsys):
    before = logits("lora")
    assert main(["merge", "lora", "--run", "alone"]) == 0
    shutil.rmtree("base")
    shutil.copytree("alone", "elsewhere/alone")
    np.testing.assert_array_equal(logits("elsewhere/alone"), before)
    assert main(["export", "alone", "out"]) == 0
    assert train("alone", *LORA, *CONSTANT, *MEAN) == 2
    assert "imported, quantized or merged" in said(capsys)
    assert (
        train("next", "--from", "alone", "--average", "None", "--budget", "2 steps")
        == 0
    )


def test_adapters_of_one_base_are_added_by_their_weights():
    base, lora, other = (params(run) for run in ("base", "lora", "other"))
    args = ["merge", "lora", "other", "--weights", "0.5", "2", "--run", "both"]
    assert main(args) == 0
    for path, array in params("both").items():
        wanted = base[path] + 0.5 * (lora[path] - base[path])
        wanted = wanted + 2.0 * (other[path] - base[path])
        np.testing.assert_allclose(array, wanted, atol=1e-6, err_msg=path)
    assert main(["merge", "lora", "--weights", "0.25", "--run", "little"]) == 0
    query = "block_0/attention/query/kernel"
    quarter = base[query] + 0.25 * (lora[query] - base[query])
    np.testing.assert_allclose(params("little")[query], quarter, atol=1e-7)
    assert main(["merge", "lora", "other", "--run", "mean"]) == 0
    half = (lora[query] + other[query]) / 2
    np.testing.assert_allclose(params("mean")[query], half, atol=1e-6)


def test_what_can_not_be_merged_is_refused_and_nothing_written(capsys):
    def refused(*args):
        assert main(["merge", *args]) == 2
        assert not Path("new").exists()
        return said(capsys)

    assert "base has no base.json: it stands alone" in refused("base", "--run", "new")
    assert "other is there already" in refused("lora", "--run", "other")
    few = refused("lora", "other", "--weights", "1", "--run", "new")
    assert "--weights: 1 of them, and 2 runs" in few
    for weight in ("nan", "inf", "1e39"):
        found = refused("lora", "other", "--weights", "1", weight, "--run", "new")
        assert "give finite numbers" in found
    second = ("--average", "None", "--budget", "2 steps")
    assert train("base2", *second, "--seed", "3") == 0
    assert train("lora2", *LORA, *second, "--initial.run", "base2") == 0
    found = refused("lora", "lora2", "--run", "new")
    assert "lora2 has a base with other parameters than lora" in found
    anew = ("--initial.new", "^norm/", "--adapter.whole", "^norm/")
    assert train("anew", *LORA, *second, *anew) == 0
    found = refused("anew", "lora", "--weights", "1", "1", "--run", "new")
    assert "'norm/scale' is not in the base as the runs have it" in found


def test_a_run_over_a_run_of_adapters_stands_on_both():
    again = ("--average", "None", "--budget", "2 steps", "--initial.run", "lora")
    assert train("upper", *LORA, *again) == 0
    assert saved("upper") == saved("lora")
    assert main(["quantize", "upper", "few"]) == 0
    shutil.rmtree("base")
    assert main(["generate", "upper"]) == 2
    assert load_model("few").generate("the ", length=2)


def test_a_run_whose_checkpoints_hold_all_goes_on_so():
    """As those of versions that left nothing with the base."""
    small = ("--average", "None", "--budget")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting_up, "left_of", lambda *_: ())
        assert train("whole", *LORA, *CONSTANT, *small, "4 steps") == 0
    assert not Path("whole/base.json").exists()
    assert main(["replay", "whole", "--step", "2"]) == 0
    shutil.rmtree("base")
    assert train("whole", *LORA, *CONSTANT, *small, "8 steps") == 0
    assert not Path("whole/base.json").exists()
    assert "embedding" in saved("whole")
