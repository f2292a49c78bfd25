"""A checkpoint becomes a run that all commands read, and a run becomes one again."""

import json
import re
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file

from lm_jax.__main__ import main
from lm_jax.data import Frame
from lm_jax.errors import UserError
from lm_jax.exchange import export_run, import_checkpoint
from lm_jax.experiment import read
from lm_jax.generation import Sampling
from lm_jax.runs.model import load_model
from lm_jax.tokenizers.trained import prompted
from lm_jax.training.fitting import train
from tests.exchange.made import MODELS, VOCAB, write_model, write_tokenizer
from tests.tiny import write_tiny

PADDED = MODELS["llama"].clone(vocab_size=VOCAB + 20)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint with more vectors than there are tokens, and a text."""
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    write_model(tmp_path / "llama", PADDED)
    write_tokenizer(tmp_path / "llama")
    return tmp_path / "llama"


def test_a_run_has_all_that_the_checkpoint_has(folder, capsys):
    assert main(["import", "llama", "--run", "runs/llama"]) == 0
    assert "llama" in capsys.readouterr().out
    loaded = load_model("runs/llama")
    assert loaded.model.vocab_size == VOCAB + 20 and loaded.context == 64
    params = flatten_dict(loaded.params, sep="/")
    kernel = load_file(folder / "model.safetensors")["lm_head.weight"]
    np.testing.assert_array_equal(params["lm_head/kernel"], kernel.T)
    assert loaded.step == 0
    assert prompted(loaded.tokenizer, "the")[0] == loaded.tokenizer.end_id
    # It is there now: nothing of it is written over.
    assert main(["import", "llama", "--run", "runs/llama"]) == 2


def test_vectors_that_no_token_has_are_left_out_on_the_way_out(folder, capsys):
    import_checkpoint(folder, "runs/llama")
    made = export_run("runs/llama", "out")
    assert made.architecture == "LlamaForCausalLM"
    assert "trimmed from 320 to the 300" in made.notes[0]
    assert (
        json.loads((folder.parent / "out/config.json").read_text())["vocab_size"] == 300
    )
    before = load_file(folder / "model.safetensors")
    after = load_file("out/model.safetensors")
    assert before.keys() == after.keys()
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name][: len(array)])
    again = (folder.parent / "out/tokenizer.json").read_text()
    assert (
        json.loads(again)["model"]
        == json.loads((folder / "tokenizer.json").read_text())["model"]
    )
    assert main(["export", "runs/llama", "out"]) == 2


@pytest.mark.slow
def test_commands_read_it_without_its_folder(folder, capsys):
    assert main(["import", "llama", "--run", "runs/llama"]) == 0
    shutil.rmtree(folder)
    capsys.readouterr()
    said = ["--prompt", "the cat", "--length", "5", "--temperature", "0"]
    assert main(["generate", "runs/llama", *said]) == 0
    assert capsys.readouterr().out.startswith("the cat")
    scored = ["--corpus", "text.txt", "--context", "16", "--json"]
    assert main(["evaluate", "runs/llama", *scored]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["scores"]["loss"] < 20
    assert main(["export", "runs/llama", "out"]) == 0


def test_training_does_not_go_on_with_it(folder, capsys):
    """There is no optimizer's state; another run begins from it."""
    write_model(folder, MODELS["llama"])
    import_checkpoint(folder, "runs/llama", "text.txt")
    assert main(["runs", "runs"]) == 0
    assert re.search("given +- ", capsys.readouterr().out)
    experiment = read(Path("runs/llama"))
    assert main(["diff", "runs/llama", "runs/llama"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "runs/llama was imported, quantized or merged" in said
    assert "has not ended" not in said
    before = Path("runs/llama/environment.json").read_bytes()
    with pytest.raises(UserError, match="--from runs/llama --run DIRECTORY"):
        train(experiment, "runs/llama")
    assert Path("runs/llama/environment.json").read_bytes() == before


def test_what_is_a_run_already_or_nowhere_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "made/experiment.json").write_text("{}")
    with pytest.raises(UserError, match="made is a run already: use it as it is"):
        import_checkpoint("made", "run")
    with pytest.raises(UserError, match="no folder mede. Did you mean 'made'"):
        import_checkpoint("mede", "run")


def test_a_vocabulary_without_vectors_is_refused(folder):
    write_model(folder, MODELS["llama"].clone(vocab_size=290))
    with pytest.raises(UserError, match="300 tokens, and config.json says vocab_size"):
        import_checkpoint(folder, "runs/llama")
    assert not (folder.parent / "runs").exists()


def test_a_token_of_text_is_no_padding(folder):
    """RoBERTa's positions begin after its token of padding, and skip it."""
    write_model(folder.parent / "roberta", MODELS["roberta"], "roberta")
    write_tokenizer(folder.parent / "roberta")
    import_checkpoint("roberta", "runs/roberta")
    with pytest.raises(UserError, match="roberta takes token 1 for padding"):
        export_run("runs/roberta", "out", architecture="roberta")
    assert not (folder.parent / "out").exists()
    assert export_run("runs/roberta", "out").architecture == "BertForMaskedLM"


@pytest.mark.slow
def test_what_was_trained_here_goes_out_and_comes_back(folder, capsys):
    """Characters and a model without biases: GPT-2 with zeros."""
    assert main(["train", "tiny.py", "--run", "runs/tiny"]) == 0
    assert main(["export", "runs/tiny", "out"]) == 0
    assert "Zeros stand for the biases" in capsys.readouterr().out
    asked = ["import", "out", "--run", "runs/again", "--corpus", "text.txt"]
    assert main(asked) == 0
    scored = []
    for run in ("runs/tiny", "runs/again"):
        capsys.readouterr()
        assert main(["evaluate", run, "--context", "16", "--json"]) == 0
        scored.append(json.loads(capsys.readouterr().out)["scores"]["loss"])
    assert scored[0] == pytest.approx(scored[1], abs=1e-5)
    one, other = load_model("runs/tiny"), load_model("runs/again")
    text = "the cat sees the moon."
    ids = one.tokenizer.encode(text)
    np.testing.assert_array_equal(other.tokenizer.encode(text), ids)
    tokens = jnp.asarray(ids[None, :16])
    found = (m.model.apply({"params": m.params}, tokens)[0] for m in (one, other))
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "t5"])
def test_families_that_do_not_continue_text_say_so(folder, name, capsys):
    write_model(folder.parent / name, MODELS[name])
    write_tokenizer(folder.parent / name)
    assert main(["import", name, "--run", f"runs/{name}"]) == 0
    capsys.readouterr()
    # Neither tokenizer has the tokens that such texts are made with.
    assert main(["evaluate", f"runs/{name}", "--corpus", "text.txt"]) == 2
    assert "was trained on texts of another kind" in " ".join(
        capsys.readouterr().err.split()
    )


def test_an_encoder_decoder_knows_what_stands_around_its_texts(tmp_path, monkeypatch):
    """As config.json says, where it does: its run writes from sources then."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "t5", MODELS["t5"])
    write_tokenizer(tmp_path / "t5")
    file = tmp_path / "t5/config.json"
    said = json.loads(file.read_text()) | {"eos_token_id": 5, "pad_token_id": 3}
    file.write_text(json.dumps(said))
    import_checkpoint("t5", "runs/t5")
    loaded = load_model("runs/t5")
    assert loaded.frame == Frame((3,), 5, after=(5,)) and loaded.from_sources
    ids = loaded.tokenizer.encode("the cat")
    greedy = Sampling(temperature=0.0)
    source = np.array([*ids, 5])
    (new,) = loaded.generate_ids([source], 6, greedy, 0)
    assert loaded.generate("the cat", 6, greedy) == [loaded.tokenizer.decode(new)]
    with pytest.raises(UserError, match="give it with --prompt"):
        loaded.generate([None], 6)
    assert not export_run("runs/t5", "out").notes
    said = json.loads((tmp_path / "out/config.json").read_text())
    assert (said["decoder_start_token_id"], said["eos_token_id"]) == (3, 5)
    assert said["pad_token_id"] == 3
    file = tmp_path / "runs/t5/model.json"
    document = json.loads(file.read_text())
    document["frame"]["after"] = []
    file.write_text(json.dumps(document))
    (note,) = export_run("runs/t5", "other").notes
    assert "come after [] and before [], and targets after [3] and before 5" in note
