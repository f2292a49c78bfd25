"""Marian's folders, as those of translations are: read, written and refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lm_jax.data import Frame
from lm_jax.errors import UserError
from lm_jax.exchange import export_run, import_checkpoint
from lm_jax.exchange.exporting import architecture_for
from lm_jax.exchange.marian import MARIAN
from lm_jax.exchange.reading import read_checkpoint
from lm_jax.generation import Sampling
from lm_jax.models import Sinusoidal
from lm_jax.runs.model import load_model
from tests.exchange.made import MODELS, VOCAB, write_model, write_tokenizer

# As the files of the models of translations have it, but for the sizes.
SAID = {
    "activation_function": "swish",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "bad_words_ids": [[VOCAB - 1]],
    "classif_dropout": 0.0,
    "d_model": 24,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 40,
    "decoder_layers": 2,
    "decoder_start_token_id": VOCAB - 1,
    "decoder_vocab_size": VOCAB,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "encoder_layers": 3,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "max_length": 64,
    "max_position_embeddings": 64,
    "normalize_before": False,
    "normalize_embedding": False,
    "num_beams": 6,
    "num_hidden_layers": 3,
    "pad_token_id": VOCAB - 1,
    "scale_embedding": True,
    "share_encoder_decoder_embeddings": True,
    "static_position_embeddings": True,
    "vocab_size": VOCAB,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what files of transformers say, and a tokenizer."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "marian", MODELS["marian"])
    write_tokenizer(tmp_path / "marian")
    say(tmp_path / "marian", SAID)
    return tmp_path / "marian"


def say(folder, more):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


@pytest.mark.slow
def test_what_transformers_translates_is_what_a_run_does(folder):
    """Its own random model: greedy text after padding, and the same arrays again."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    assert MARIAN.frame({}) == MARIAN.frame(transformers.MarianConfig().to_dict())
    config = transformers.MarianConfig(**SAID, init_std=0.3)
    torch.manual_seed(0)
    theirs = transformers.MarianMTModel(config).eval()
    torch.nn.init.normal_(theirs.final_logits_bias)
    theirs.save_pretrained(folder)
    import_checkpoint("marian", "run")
    loaded = load_model("run")
    assert loaded.frame == Frame((VOCAB - 1,), 0, after=(0,))
    sources = [[*loaded.tokenizer.encode(t), 0] for t in ("the cat", "my bird sees")]
    # Else one token comes again and again.
    greedy = Sampling(temperature=0.0, no_repeat_ngram=2)
    made = loaded.generate_ids([np.array(s) for s in sources], 12, greedy, 0)
    asked = {"do_sample": False, "num_beams": 1, "max_new_tokens": 12}
    asked |= {"no_repeat_ngram_size": 2}
    asked |= {"bad_words_ids": None, "forced_eos_token_id": None}
    for source, new in zip(sources, made, strict=True):
        expected = theirs.generate(torch.tensor([source]), **asked)[0].tolist()
        assert expected[0] == VOCAB - 1 and len(set(expected)) > 4
        np.testing.assert_array_equal(new, expected[1:])
    export_run("run", "out")
    again = transformers.MarianMTModel.from_pretrained("out")
    assert again.config.decoder_start_token_id == VOCAB - 1
    assert (again.config.pad_token_id, again.config.eos_token_id) == (VOCAB - 1, 0)
    for name, array in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], array), name


def test_positions_in_a_file_are_those_that_config_json_gives(folder):
    before = read_checkpoint(folder)
    file = folder / "model.safetensors"
    table = {"model.encoder.embed_positions.weight": np.zeros((64, 24), np.float32)}
    save_file(load_file(file) | table, file)
    found = read_checkpoint(folder)
    assert found.notes == [f"{next(iter(table))}: follows from config.json"]
    assert found.model == before.model and before.context == 64


@pytest.mark.parametrize(
    "config, said",
    [
        ({"share_encoder_decoder_embeddings": False}, "embeddings=False, and this"),
        ({"decoder_vocab_size": 7}, "decoder_vocab_size=7, and this is read with 300"),
        ({"static_position_embeddings": False}, "static_position_embeddings=False"),
        ({"normalize_before": True}, "don't know: normalize_before=True"),
        ({"d_model": 25}, "d_model=25 is odd"),
    ],
)
def test_what_ours_have_no_place_for_is_refused(folder, config, said):
    say(folder, config)
    with pytest.raises(UserError) as refused:
        read_checkpoint(folder)
    assert said in str(refused.value)


def test_its_own_tokenizers_are_refused_with_what_is_missing(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "source.spm").touch()
    (folder / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match="two SentencePiece models") as refused:
        import_checkpoint("marian", "run")
    assert "has no tokenizer.json" in str(refused.value)
    assert not (folder.parent / "run").exists()


@pytest.mark.parametrize(
    "positions", [Sinusoidal(), Sinusoidal(50.0, 1.0)], ids=["small", "fast"]
)
def test_other_waves_are_not_written_as_its_own(positions):
    model = MODELS["marian"].clone(positions=positions)
    with pytest.raises(UserError, match="marian: model.positions"):
        architecture_for(model, 64, "marian")
