"""Tokenizers give back what they were given, and count as the field counts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lm_jax.data import (
    Bytes,
    Characters,
    Subwords,
    Words,
    load_tokenizer,
    save_tokenizer,
)
from lm_jax.data.subwords import sample
from lm_jax.errors import UserError
from lm_jax.text.known import SHIPPED
from lm_jax.text.reading import blocks
from tests.properties import quick

ENGLISH = "To be, or not to be: that is the question.\nWhether 'tis nobler\n"
CHINESE = "牀前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n"
CHARACTERS = Characters().train([ENGLISH, CHINESE])
texts = st.text(st.sampled_from(ENGLISH + CHINESE + " \n"), max_size=80)
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | texts


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def subwords(request):
    files = ("tinyshakespeare.txt.gz", "tangshi300.tsv.gz")
    learned = [next(blocks(SHIPPED / name))[:30_000] for name in files]
    return Subwords(size=3000, kind=request.param).train(learned, end=True)


@quick
@given(texts)
def test_characters_come_back(text):
    ids = CHARACTERS.encode(text)
    assert len(ids) == len(text)
    assert CHARACTERS.decode(ids) == text


def test_characters_are_sorted_and_distinct():
    tokenizer = Characters().train(["月b", "ab"])
    assert tokenizer.encode("ab月").tolist() == [0, 1, 2]
    assert tokenizer.vocab_size == 3


def test_a_missing_character_is_named():
    with pytest.raises(UserError, match=r"'é', '霜'.*unknown=True"):
        Characters().train(["abc"]).encode("aé霜b")


def test_unknown_takes_missing_characters():
    tokenizer = Characters(unknown=True).train(["abc"], end=True)
    ids = tokenizer.encode("a霜")
    assert ids.tolist() == [0, tokenizer.unknown_id]
    assert tokenizer.end_id == 4 == tokenizer.vocab_size - 1
    assert tokenizer.symbols([0, 3, 4]) == ["a", "<unk>", "<|end|>"]
    assert tokenizer.decode([0, 4]) == "a"


@quick
@given(anything)
def test_bytes_come_back(text):
    tokenizer = Bytes().train([])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.vocab_size == 256


@quick
@given(anything)
@example("a▁b ▁▁ c▁\n▁\0")
def test_subwords_come_back(subwords, text):
    ids = subwords.encode(text)
    assert subwords.decode(ids) == text
    assert subwords.end_id not in ids


@quick
@given(texts, texts)
def test_subwords_can_be_cut_at_line_ends_and_before_spaces(subwords, a, b):
    for start in ("\n", "x "):
        left, right = (a + "\n", b) if start == "\n" else (a + "x", " " + b)
        parts = [*subwords.encode(left), *subwords.encode(right)]
        assert subwords.encode(left + right).tolist() == parts


def test_long_lines_are_cut_without_effect(subwords):
    text = "that is the question  or  not " * 400
    whole = subwords._pieces.encode(text)
    assert subwords.encode(text).tolist() == whole


def test_subwords_that_cannot_be_had():
    with pytest.raises(UserError, match="or less"):
        Subwords(size=30_000).train([ENGLISH])
    with pytest.raises(UserError, match="or more"):
        Subwords(size=300).train([chr(0x4E00 + i) * 2 for i in range(900)])
    with pytest.raises(UserError, match="size=300"):
        Subwords(size=10)


@quick
@given(st.lists(st.text(max_size=9)), st.integers(0, 60))
def test_the_sample_keeps_its_budget_and_order(lines, budget):
    kept = sample(lines, budget)
    assert sum(len(line.encode()) for line in kept) <= budget
    assert kept == sample(lines, budget)
    rest = iter(lines)
    assert all(line in rest for line in kept)
    if sum(len(line.encode()) for line in lines) <= budget:
        assert kept == lines


def test_the_sample_uses_its_budget_evenly():
    lines = [f"{i:09d}" for i in range(20_000)]
    kept = sample(lines, 18_000)
    assert sum(map(len, kept)) > 15_000
    places = Counter(int(line) // 5000 for line in kept)
    assert min(places.values()) > 0.2 * len(kept)


def test_words_are_ordered_by_frequency_then_alphabet():
    tokenizer = Words().train(["b a a\nc b\n"])
    assert tokenizer.words == ("<eos>", "a", "b", "c", "<unk>")
    assert tokenizer.symbols(tokenizer.encode("a d\n")) == ["a", "<unk>", "<eos>"]
    assert tokenizer.decode(tokenizer.encode("a b\nc\n\na")) == "a b\nc\n\na"


def test_words_keep_the_unknown_that_the_corpus_spells():
    tokenizer = Words().train(["a <unk> <unk>"])
    assert tokenizer.words == ("<unk>", "a")
    assert tokenizer.unknown_id == 0


@quick
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "<unk>", "e"])), st.integers(2, 8))
def test_words_are_capped(words, size):
    tokenizer = Words(size=size).train([" ".join(words)])
    assert tokenizer.vocab_size <= size
    assert tokenizer.words.count("<unk>") == 1
    counts = Counter(word for word in words if word != "<unk>")
    kept = [counts[word] for word in tokenizer.words if word != "<unk>"]
    left = [n for word, n in counts.items() if word not in tokenizer.words]
    assert min(kept, default=0) >= max(left, default=0) or not kept


def test_what_no_word_spells_is_counted():
    words = Words(size=2).train(["a a b"])
    assert words.unspelled("a b\n<unk> 春\n") == len("b\n\n") + 3
    assert Words().train(["a\nb"]).unspelled("a\nb") == 0


def test_words_in_lower_case():
    tokenizer = Words(lowercase=True).train(["The the"])
    assert tokenizer.words == ("the", "<unk>")
    assert tokenizer.encode("THE").tolist() == [0]


def test_a_cap_below_two_is_refused():
    with pytest.raises(UserError, match="size=1"):
        Words(size=1)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize(
    "value", [Characters(), Characters(True), Bytes(), Words(), Subwords(330)]
)
def test_tokenizers_are_kept_as_json(tmp_path, value, end):
    trained = value.train([ENGLISH * 9, CHINESE * 9], end=end)
    save_tokenizer(trained, tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert again == trained
    text = ENGLISH + CHINESE
    np.testing.assert_array_equal(again.encode(text), trained.encode(text))
    assert (again.end_id is not None) == end
    assert len(again.symbols(range(again.vocab_size))) == again.vocab_size


def test_a_tokenizer_that_cannot_be_read(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="no tokenizer at"):
        load_tokenizer(path)
    path.write_text('{"kind": "Bytes')
    with pytest.raises(UserError, match="damaged"):
        load_tokenizer(path)
