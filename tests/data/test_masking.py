"""Masking: as many as said, in the shares said, the text unharmed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.data import rows
from lm_jax.data.masking import (
    MaskedStream,
    choose,
    hide,
    masked_windows,
    numbered_words,
    word_edges,
)
from lm_jax.data.randomness import uniform
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Subwords, Words

# Each character of a half tells its place.
TEXT = "".join(chr(0x100 + i) for i in range(300)) * 2


def prepared(tmp_path, text=TEXT, **fields):
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    fields = {"tokenizer": Characters(), "context": 16} | fields
    corpus = Corpus(str(path), validation=0.5)
    return MaskedStream(corpus, **fields).prepare(tmp_path)


@settings(max_examples=40)
@given(
    context=st.integers(1, 40),
    length=st.integers(1, 40),
    rate=st.floats(0.03, 0.97),
    seed=st.integers(0, 99),
)
def test_a_row_hides_as_many_as_the_rate_says_and_keeps_the_text(
    context, length, rate, seed
):
    length, chosen = min(length, context), round(rate * context)
    if chosen < 1:
        return
    stream = MaskedStream(Corpus(), Characters(), context, rate)
    tokenizer = Characters().train([TEXT])
    row = stream._masked(tokenizer, tokenizer.vocab_size)(
        np.arange(length, dtype=np.uint16), uniform(seed)
    )
    assert row["originals"].tolist() == [*range(length), *[0] * (context - length)]
    assert row["mask"].sum() == max(1, round(rate * length))
    assert not row["mask"][length:].any()
    kept = row["mask"] == 0
    assert (row["inputs"][kept] == row["originals"][kept]).all()
    places = row["masked_positions"]
    assert len(places) == chosen == len(set(places.tolist()))
    assert row["mask"][places].sum() == row["mask"].sum()


def test_chosen_tokens_become_mask_anything_or_stay_in_the_shares_asked():
    vocab, count = 50, 40_000
    tokens = np.full(count, 7)
    for mask, random in ((0.8, 0.1), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)):
        hidden = hide(tokens, tokens == 7, vocab, vocab, mask, random, uniform(3))
        found = np.bincount(hidden, minlength=vocab + 1) / count
        assert len(found) == vocab + 1
        assert found[vocab] == pytest.approx(mask, abs=0.01)
        stay = 1 - mask - random
        assert found[7] == pytest.approx(stay + random / vocab, abs=0.01)
        others = np.delete(found[:vocab], 7)
        assert others == pytest.approx(random / vocab, abs=0.003)
    assert (
        hide(tokens, tokens != 7, vocab, vocab, 0.8, 0.1, uniform(3)) == tokens
    ).all()


def test_every_place_is_chosen_as_often():
    chosen = np.array([choose(np.arange(16), 4, uniform(i)) for i in range(800)])
    assert chosen.mean(0) == pytest.approx(0.25, abs=0.07)
    assert (chosen.sum(1) == 4).all()


def test_rows_are_a_function_of_the_seed_and_their_number(tmp_path):
    data, again = prepared(tmp_path), prepared(tmp_path)
    last = rows(data.train(0, 4), 9, 4)
    rows(again.train(0, 4), 2, 4)
    whole = rows(again.train(0, 40), 0, 40)
    other = rows(data.train(1, 4), 9, 4)
    for name, array in last.items():
        assert (array == whole[name][36:]).all()
        assert name == "segments" or (array != other[name]).any()


def masks_by_text(data, epochs):
    """Give, for each text of the first epoch, its inputs in each epoch."""
    count, order = data.examples(1), data.train(0, 1)
    found = {}
    for index in range(count * epochs):
        row = order[index]
        found.setdefault(row["originals"].tobytes(), []).append(row["inputs"].tolist())
    return found


def test_static_masks_come_again_after_as_many_epochs_as_copies(tmp_path):
    data = prepared(tmp_path, dynamic=False, copies=2, rate=0.5)
    found = masks_by_text(data, epochs=4)
    assert len(found) == data.examples(1)
    for first, second, third, fourth in found.values():
        assert (first, second) == (third, fourth)
        assert first != second


def test_dynamic_masks_never_come_again(tmp_path):
    data = prepared(tmp_path, rate=0.5)
    for inputs in masks_by_text(data, epochs=4).values():
        assert len(inputs) == len({tuple(row) for row in inputs})


@settings(max_examples=30)
@given(tokens=st.integers(1, 90), context=st.integers(4, 30), batch=st.integers(1, 5))
def test_an_evaluation_has_every_token_once_under_masks_that_stay(
    tokens, context, batch
):
    stream = MaskedStream(Corpus(), Characters(), context, rate=0.2)
    tokenizer = Characters().train([TEXT])
    masked = stream._masked(tokenizer, tokenizer.vocab_size)
    ids = np.arange(tokens, dtype=np.uint16)

    def read(batch):
        windows = masked_windows(ids, context, batch, masked)
        found = [windows[i] for i in range(len(windows))]
        return {name: np.concatenate([b[name] for b in found]) for name in found[0]}

    found, alone = read(batch), read(1)
    assert found["originals"][found["segments"] == 1].tolist() == list(range(tokens))
    assert not found["mask"][found["segments"] == 0].any()
    for name, array in alone.items():
        assert (found[name][: len(array)] == array).all()
        assert not found[name][len(array) :].any()


@settings(max_examples=100)
@given(st.lists(st.integers(1, 6), min_size=1), st.integers(1, 20), st.integers(0, 9))
def test_words_are_chosen_whole(sizes, most, seed):
    words = np.repeat(np.arange(len(sizes)), sizes)
    chosen = choose(words, most, uniform(seed))
    whole = [set(chosen[words == word]) for word in range(len(sizes))]
    assert all(len(flags) == 1 for flags in whole)
    left = [n for n, flags in zip(sizes, whole, strict=True) if flags == {False}]
    assert chosen.sum() <= most
    assert chosen.sum() == most or 1 not in left


def test_words_of_subwords_are_those_between_white_space():
    text = "unbelievable misunderstandings happened yesterday\nunbelievably often\n" * 9
    tokenizer = Subwords(size=300).train([text])
    ids = tokenizer.encode(text)
    numbers = numbered_words(ids, word_edges(tokenizer))
    found = [tokenizer.decode(ids[numbers == n]) for n in range(numbers.max() + 1)]
    assert "".join(found) == text
    assert [w.strip(" ") for w in found] == text.replace("\n", " \n ").split(" ")[:-1]


def test_a_piece_with_chinese_characters_is_a_word():
    text = "床前明月光 is moonlight 疑是地上霜 yes\n" * 20
    tokenizer = Subwords(size=320).train([text])
    ids = tokenizer.encode(text)
    numbers = numbered_words(ids, word_edges(tokenizer))
    for number in range(numbers.max() + 1):
        word = tokenizer.decode(ids[numbers == number])
        chinese = any("\u3400" <= c <= "\u9fff" for c in word)
        assert not chinese or (numbers == number).sum() == 1


def test_whole_words_hide_all_pieces_or_none(tmp_path):
    text = "unbelievable misunderstandings happened yesterday often\n" * 60
    data = prepared(
        tmp_path,
        text,
        tokenizer=Subwords(size=300),
        context=32,
        rate=0.5,
        whole_words=True,
    )
    edges = word_edges(data.tokenizer.tokenizer)
    shares = []
    for index in range(50):
        row = data.train(0, 1)[index]
        words = numbered_words(row["originals"], edges)
        for word in range(words.max() + 1):
            assert len(set(row["mask"][words == word])) == 1
        assert row["mask"].sum() <= 16
        shares.append(row["mask"].sum() / 16)
    assert np.mean(shares) > 0.8


def test_every_word_of_words_is_its_own():
    tokenizer = Words().train(["a b c"])
    tokens = np.array([0, 1, 2, 2])
    assert numbered_words(tokens, word_edges(tokenizer)).tolist() == [0, 1, 2, 3]


def test_the_vocabulary_has_the_mask(tmp_path):
    data = prepared(tmp_path, mask=1.0, random=0.0)
    assert data.vocab_size == len(set(TEXT[:300])) + 1
    row = data.train(0, 1)[0]
    hidden = row["inputs"][row["masked_positions"]]
    assert data.tokenizer.symbols(hidden) == ["<mask>"] * 2


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"rate": 0.0}, "data.rate=0.0"),
        ({"rate": 1.0}, "less than 1"),
        ({"rate": float("nan")}, "data.rate=nan"),
        ({"mask": 0.8, "random": 0.3}, "1 at most together"),
        ({"random": -0.1}, "0 or more"),
        ({"mask": 0.0, "random": 0.0}, "not 0 both: what is not hidden is told"),
        ({"copies": 0}, "data.copies=0"),
        ({"context": 3}, "Use --data.context 7 or more"),
        ({"context": 0}, "context=0"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        MaskedStream(**fields)
