"""A quantized run: smaller, as good but for rounding, and read by every command."""

import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.adapting import dequantized, is_quantized, quantize
from lm_jax.errors import UserError
from lm_jax.models import Rotary, Transformer
from lm_jax.models.stack import initialise
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.model import load_model
from lm_jax.runs.quantizing import lighter_name, quantize_run
from lm_jax.training.fitting import load_fitted
from tests.tiny import write_tiny

RECIPE = ("--schedule.peak", "3e-2", "--budget", "60 steps")
RECIPE += ("--evaluations.likelihood.every", "30 steps")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A run "base", trained in a layout of several devices, and "base_int8"."""
    folder, here = tmp_path_factory.mktemp("runs"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    layout = ("--fsdp", "2", "--tensor", "2", "--scan", "True")
    assert main(["train", "tiny.py", "--run", "base", *RECIPE, *layout]) == 0
    assert main(["quantize", "base"]) == 0
    yield folder
    os.chdir(here)


def said(capsys):
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


@pytest.mark.slow
def test_it_is_scored_and_writes_as_the_run_does(capsys):
    scores, texts = [], []
    for run in ("base", "base_int8"):
        assert main(["evaluate", run, "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["scores"])
        model = load_model(run)
        texts += model.generate(["the cat ", "a dog "], length=20, temperature=0.0)
    assert scores[0]["tokens"] == scores[1]["tokens"]
    change = scores[1]["bits_per_byte"] / scores[0]["bits_per_byte"] - 1
    assert 0 < abs(change) < 0.005
    same = [a == b for a, b in zip("".join(texts[:2]), "".join(texts[2:]), strict=True)]
    assert np.mean(same) > 0.8


@pytest.mark.slow
def test_what_is_read_are_the_integers_of_the_weights_to_use():
    base, few = load_model("base"), load_model("base_int8")
    assert base.step == few.step and is_quantized(few.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 0, np.abs(a).max() / 250),
        jax.device_get(base.params),
        jax.device_get(dequantized(few.params)),
    )
    assert few.features(["the cat"])[0].shape == base.features(["the cat"])[0].shape
    words, vectors = few.vectors()
    assert len(words) == len(vectors) and vectors.dtype == np.float32


@pytest.mark.slow
def test_it_is_spread_over_devices_as_its_run_was():
    fitted = load_fitted(Path("base_int8"))
    up = fitted.loaded.params["block_0"]["up"]["kernel"]
    assert up.values.dtype == jnp.int8
    assert up.values.sharding.shard_shape(up.values.shape) == (8, 32)


@pytest.mark.slow
def test_a_copy_stands_alone():
    shutil.copytree("base_int8", "elsewhere/few")
    a, b = (load_model(run).params for run in ("base_int8", "elsewhere/few"))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_it_keeps_which_model_its_scores_are_made_with():
    """Another reference would give other scores, in silence."""
    shutil.copytree("base", "preferred")
    Path("preferred/guide.json").write_text('{"parameters": "0badcafe"}')
    made = quantize_run(Path("preferred"))
    assert "0badcafe" in (made.run / "guide.json").read_text()


@pytest.mark.slow
def test_the_command_says_sizes_and_what_was_lost(capsys):
    assert main(["quantize", "base", "four", "--to", "int4", "--step", "60"]) == 0
    found = said(capsys)
    assert "four: step 60 in int4" in found and "of it)" in found
    for score in ("loss", "perplexity", "bits per byte"):
        assert f"validation {score} " in found and "%)" in found
    Path("text.txt").rename("away.txt")
    try:
        assert main(["quantize", "base", "alone"]) == 0
    finally:
        Path("away.txt").rename("text.txt")
    found = said(capsys)
    assert "not scored" in found and "text.txt" in found
    assert load_model("alone").generate("the ", length=3)


@pytest.mark.slow
def test_other_runs_begin_from_it_and_transformers_gets_float32(capsys):
    few = dequantized(load_model("base_int8").params)
    asked = ["--from", "base_int8", "--run", "further", "--budget", "2 steps"]
    assert main(["train", "tiny.py", *asked, "--schedule.peak", "1e-12"]) == 0
    begun = load_model("further").params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 0, 1e-6), few, begun)
    capsys.readouterr()
    assert main(["export", "base_int8", "out"]) == 0
    assert "written as the float32" in said(capsys)


@pytest.mark.slow
def test_training_does_not_go_on_from_integers(capsys):
    before = Path("base_int8/environment.json").read_text()
    assert main(["train", "tiny.py", *RECIPE, "--run", "base_int8"]) == 2
    assert "--from base_int8 --run DIRECTORY" in said(capsys)
    assert Path("base_int8/environment.json").read_text() == before


@pytest.mark.slow
def test_what_can_not_be_quantized_is_refused_and_nothing_written(capsys):
    assert main(["quantize", "base", "base_int8"]) == 2
    assert "base_int8 is there already" in said(capsys)
    assert main(["quantize", "base", "new", "--to", "int7"]) == 2
    assert "int8" in said(capsys)
    assert main(["quantize", "base_int8", "new"]) == 2
    assert "is quantized already" in said(capsys)
    assert main(["quantize", "base", "new", "--step", "7"]) == 2
    assert "none of 7" in said(capsys)
    assert main(["quantize", "bse"]) == 2
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("run", "where"),
    [
        ("runs/gpt/base/seed3", "runs/gpt/base_int8/seed3"),
        ("runs/mine", "runs/mine_int8"),
    ],
)
def test_a_seed_s_lighter_run_is_no_further_run_of_that_seed(
    run, where, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert lighter_name(Path(run), "int8") == Path(where)
    Path(run).mkdir(parents=True)
    for place, name in ((Path(run), "."), (Path(run).parent, Path(run).name)):
        monkeypatch.chdir(tmp_path / place)
        made = lighter_name(Path(name), "int8")
        assert made.absolute() == tmp_path / where


@pytest.mark.slow
@pytest.mark.parametrize(("to", "share"), [("int8", 0.3), ("int4", 0.16)])
def test_a_checkpoint_takes_less_than_a_third(tmp_path, to, share):
    model = Transformer(layers=2, heads=4, width=128, vocab_size=65, positions=Rotary())
    tokens = jnp.zeros((1, 4), jnp.int32)
    params = initialise(model, jax.random.key(0), tokens)
    kept = {"whole": params, "few": quantize(params, to)}
    sizes = {}
    for name, tree in kept.items():
        checkpoints = Checkpoints(tmp_path / name)
        checkpoints.save(1, {"params": tree}, {"step": np.int32(1)}, {"best": 1}, 1)
        checkpoints.close()
        sizes[name] = checkpoints.size(1)
    assert sizes["few"] < share * sizes["whole"]


@pytest.mark.slow
def test_counts_are_no_weights(capsys, tmp_path):
    source = Path("tiny.py").read_text()
    count = source.split("experiment = ")[0] + (
        "from lm_jax.counting import NGram\n"
        "from lm_jax.experiment import CountExperiment\n"
        'data = TokenStream(Corpus("text.txt"), Characters(), context=16)\n'
        "experiment = CountExperiment(data, NGram(2))\n"
    )
    Path("count.py").write_text(count)
    assert main(["train", "count.py", "--run", "count"]) == 0
    with pytest.raises(UserError, match="fitted by counting"):
        quantize_run(Path("count"))
