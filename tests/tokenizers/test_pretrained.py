"""A tokenizer that comes with a checkpoint: encoded and decoded by its own library."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from lm_jax.data import MaskedStream, TokenStream
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Pretrained, load_tokenizer, save_tokenizer
from lm_jax.tokenizers.trained import prompted
from tests.exchange.made import write_tokenizer
from tests.properties import quick
from tests.tiny import TEXT
from tests.tokenizers import anything

GOLDEN = "the cat  sees a mouse.\n Ünïcode<|endoftext|>the "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Lower-case words, of which some are unknown, and what stands around a text."""
    folder = tmp_path_factory.mktemp("bert")
    names = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]", "the", "cat", "##s", "see"]
    vocab = {name: i for i, name in enumerate(names)}
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(cleanup=False)
    made.add_special_tokens(names[:5])
    made.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 2))
    made.save(str(folder / "tokenizer.json"))
    said = {f"{name[1:-1].lower()}_token": name for name in names[:5]}
    said["mask_token"] = {"content": "[MASK]", "lstrip": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def test_ids_are_those_of_the_library(folder):
    made = Pretrained(str(folder)).train(())
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.no_truncation()
    expected = library.encode(GOLDEN, add_special_tokens=False).ids
    assert made.encode(GOLDEN).tolist() == expected and len(expected) > 8
    assert expected.count(made.end_id) == 1
    assert made.vocab_size == 300 and made.unknown_id is None and made.end_id == 0
    assert made.decode(expected) == GOLDEN.replace("<|endoftext|>", "")
    assert made.symbols(made.encode(" the é\n"))[:1] == [" the"]


@quick
@given(anything)
def test_every_text_comes_back(folder, text):
    made = Pretrained(str(folder)).train(())
    assert not made.forgets and made.canonical(text) == text
    assert made.decode(made.encode(text)) == text


@pytest.mark.parametrize("form", ["NFC", "NFKC", "Lowercase"])
def test_forms_of_letters_that_are_forgotten_are_not_counted(folder, tmp_path, form):
    """Bits per byte are of the text that tokens code, and have no easier one."""
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.normalizer = getattr(normalizers, form)()
    made.save(str(tmp_path / "tokenizer.json"))
    found = Pretrained(str(tmp_path)).train(())
    text = "CAFE\u0301 of\ufb01ce"
    lower = form == "Lowercase"
    expected = text.lower() if lower else unicodedata.normalize(form, text)
    assert found.forgets and found.canonical(text) == expected


def test_what_is_kept_encodes_alike(folder, tmp_path):
    made = Pretrained(str(folder)).train(())
    save_tokenizer(made, tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json") == made
    assert Kept(str(tmp_path)).train(()) == made


def test_one_token_begins_a_text_wherever_it_is_read(folder, tmp_path):
    """Training, evaluation and generation have the same token before a document."""
    made = Pretrained(str(folder)).train(())
    ids = prompted(made, "the cat")
    assert ids[0] == made.end_id and list(ids).count(made.end_id) == 1
    # A prompt that spells it has no second one.
    np.testing.assert_array_equal(prompted(made, "<|endoftext|>the cat"), ids)
    (tmp_path / "lines.jsonl").write_text('{"text": "the cat"}\n' * 40)
    corpus = Corpus(str(tmp_path / "lines.jsonl"))
    data = TokenStream(corpus, Pretrained(str(folder)), 4).prepare(tmp_path / "cache")
    tokens = data.splits["train"].ids
    np.testing.assert_array_equal(tokens[len(ids) - 1 : 2 * len(ids) - 1], ids)


def test_words_forget_and_are_counted_so(bert):
    made = Pretrained(str(bert)).train(())
    library = Tokenizer.from_file(str(bert / "tokenizer.json"))
    assert library.encode("the").ids == [2, 5, 4]
    assert made.encode("The cats SEE dogs").tolist() == [5, 6, 7, 8, 1]
    assert made.forgets and made.joiner == " "
    assert made.canonical("The cats SEE  Dogs the") == "the cats see Dogs the"
    assert made.unspelled("The cats SEE  Dogs") == ["Dogs"]
    assert made.unknown_id == 1 and made.end_id == 4


def test_its_own_mask_hides_words(bert, folder, tmp_path):
    """No id is added that a checkpoint has no vector for."""
    (tmp_path / "text.txt").write_text("the cat see the cats see\n" * 50)
    corpus = Corpus(str(tmp_path / "text.txt"))
    data = MaskedStream(corpus, Pretrained(str(bert)), 16, random=0.0, mask=1.0)
    made = data.prepare(tmp_path / "cache")
    batch = made.order(0, 4).batch(0)
    assert made.vocab_size == 9
    assert (batch["inputs"][batch["mask"] > 0] == 3).all() and batch["mask"].any()
    other = MaskedStream(corpus, Pretrained(str(folder)), 16)
    assert other.prepare(tmp_path / "cache").vocab_size == 301


def test_a_file_that_can_not_be_read_is_named(folder, tmp_path):
    said = "There is no folder .*gpt2. A checkpoint .* is fetched by `hf download"
    with pytest.raises(UserError, match=said):
        Pretrained(str(tmp_path / "gpt2")).train(())
    (run := tmp_path / "run").mkdir()
    (run / "experiment.json").write_text("{}")
    with pytest.raises(UserError, match="run is a run, and no folder of Hugging Face"):
        Pretrained(str(run)).train(())
    with pytest.raises(UserError, match="no tokenizer.json. AutoTokenizer"):
        Pretrained(str(tmp_path)).train(())
    (tmp_path / "vocab.txt").write_text("the")
    with pytest.raises(UserError, match="Of vocab.txt alone it can't be read"):
        Pretrained(str(tmp_path)).train(())
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["type"] = "Syllables"
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="tokenizer.json is of a kind that the library"):
        Pretrained(str(tmp_path)).train(())
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    with pytest.raises(UserError, match="no token '</s>', which tokenizer_config"):
        Pretrained(str(tmp_path)).train(())


def test_the_text_is_longer_than_any_cut(folder):
    """A file may ask to cut texts: ours are read whole."""
    made = Pretrained(str(folder)).train(())
    assert len(made.encode(TEXT)) > 8 and made.decode(made.encode(TEXT)) == TEXT
