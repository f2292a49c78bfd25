"""Our tokenizers in the form of `tokenizers` give the same ids and texts."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lm_jax.errors import UserError
from lm_jax.exchange.tokenizer_json import write_tokenizer
from lm_jax.tokenizers import (
    Bytes,
    Characters,
    Ids,
    Pretrained,
    Subwords,
    WithSpecials,
    Words,
    words,
)
from lm_jax.tokenizers.pretrained import read_pretrained
from tests.exchange import made
from tests.tiny import TEXT

KINDS = (
    Characters(unknown=True),
    Characters(),
    Bytes(),
    Words(),
    Words(lowercase=True),
    Subwords(size=400),
    Subwords(size=400, kind="unigram"),
    Subwords(size=400, lowercase=True),
)
TEXTS = ["the cat sees  a mouse.\n a dog", " the\n", "The moon\n\nand  the tree\n"]
# With the code of words itself: enough different strings for subwords.
LINES = "\n".join([TEXT, *TEXTS, Path(words.__file__).read_text(encoding="utf-8")])


def written(tokenizer, folder):
    notes = []
    said = write_tokenizer(tokenizer, folder, 64, notes)
    return Tokenizer.from_file(str(folder / "tokenizer.json")), said, notes


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("end", [True, False])
def test_ids_and_texts_are_the_same(kind, end, tmp_path):
    ours = kind.train([LINES], end=end)
    theirs, said, notes = written(ours, tmp_path)
    assert not notes and theirs.get_vocab_size() == ours.vocab_size
    assert said["eos_token_id"] == ours.end_id
    for text in TEXTS:
        ids = ours.encode(text).tolist()
        assert theirs.encode(text).ids == ids
        assert theirs.decode(ids) == ours.decode(ids)


def test_characters_without_unknown_come_back_and_refuse_others(tmp_path):
    ours = Characters().train(["\nab cd"])
    written(ours, tmp_path)
    back = read_pretrained(tmp_path)
    assert back.forgets == "" and back.unknown_id is None
    for text in ("ab\ncd", "d  c"):
        assert back.encode(text).tolist() == ours.encode(text).tolist()
        assert back.canonical(text) == text and back.unspelled(text) == []
    for ask in (back.encode, back.unspelled):
        with pytest.raises(UserError, match="lacks 'x', 'é'. Leave it out"):
            ask("ab éx")


def test_what_no_piece_spells_is_bytes_or_unknown(tmp_path):
    text = "Ünïcode 你好 👍"
    for number, kind in enumerate((KINDS[0], *KINDS[2:])):
        ours = kind.train([LINES], end=True)
        folder = tmp_path / str(number)
        folder.mkdir()
        ids = ours.encode(text).tolist()
        assert written(ours, folder)[0].encode(text).ids == ids
    with pytest.raises(Exception, match="Missing .UNK. token"):
        folder = tmp_path / "refused"
        folder.mkdir()
        written(Characters().train([LINES]), folder)[0].encode(text)


def test_added_names_are_tokens_after_the_others(tmp_path):
    inner = Bytes().train((), end=True)
    theirs, _, _ = written(WithSpecials(inner, ("<mask>",)), tmp_path)
    assert theirs.token_to_id("<mask>") == inner.vocab_size
    assert theirs.encode("a<mask>b").ids == [97, 257, 98]
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert said["mask_token"] == "<mask>" and said["eos_token"] == "<|end|>"


def test_one_that_came_in_goes_out_as_it_was(tmp_path):
    source = made.write_tokenizer(tmp_path / "in")
    ours = Pretrained(str(tmp_path / "in")).train(())
    (tmp_path / "out").mkdir()
    theirs, said, _ = written(ours, tmp_path / "out")
    assert json.loads(theirs.to_str()) == json.loads(source.to_str())
    assert said == {"bos_token_id": 0, "eos_token_id": 0}


def test_numbers_alone_have_no_tokenizer(tmp_path):
    notes = []
    write_tokenizer(Ids(9, None).train(()), tmp_path, 64, notes)
    assert "No tokenizer is written" in notes[0] and not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_transformers_loads_it(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = kind.train([LINES], end=True)
    written(ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = ours.encode(TEXTS[0]).tolist()
    assert theirs(TEXTS[0])["input_ids"] == ids
    assert theirs.decode(ids) == ours.decode(ids)
    assert theirs.eos_token_id == ours.end_id
