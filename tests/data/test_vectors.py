"""Vectors come back from text as they were, and damage is named by its line."""

import bz2
import gzip
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lm_jax.data.vectors import read_vectors, write_vectors
from lm_jax.errors import UserError
from lm_jax.tokenizers import Characters, Subwords
from tests.properties import quick
from tests.tiny import TEXT

plain = st.characters(
    exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"], exclude_characters="▁"
)
words = st.text(st.just(" ") | plain, min_size=1).filter(
    lambda word: word.replace(" ", "x").split() == [word.replace(" ", "x")]
)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@quick
@given(st.data())
def test_text_gives_back_the_same_vectors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("vectors") / "v.txt"
    names = data.draw(st.lists(words, min_size=1, max_size=5, unique=True))
    width = data.draw(st.integers(1, 4))
    values = data.draw(arrays(np.float32, (len(names), width), elements=numbers))
    write_vectors(path, names, values)
    found, vectors = read_vectors(path)
    assert found == names
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, values)


def test_gensim_reads_what_is_written_and_the_other_way_round(tmp_path):
    keyed = pytest.importorskip("gensim.models").KeyedVectors
    names, values = ["the", "猫", "<eos>"], np.random.randn(3, 5).astype(np.float32)
    write_vectors(tmp_path / "ours.txt", names, values)
    theirs = keyed.load_word2vec_format(str(tmp_path / "ours.txt"))
    assert theirs.index_to_key == names
    np.testing.assert_array_equal(theirs.vectors, values)
    theirs.save_word2vec_format(str(tmp_path / "theirs.txt"))
    found, vectors = read_vectors(tmp_path / "theirs.txt")
    assert found == names
    np.testing.assert_array_equal(vectors, values)


def test_the_symbols_of_subwords_and_characters_come_back(tmp_path):
    for value in (Subwords(300), Characters(unknown=True)):
        trained = value.train([TEXT])
        symbols = trained.symbols(range(trained.vocab_size))
        vectors = np.random.randn(len(symbols), 3).astype(np.float32)
        write_vectors(tmp_path / "v.txt", symbols, vectors)
        assert read_vectors(tmp_path / "v.txt")[0] == symbols
        lines = (tmp_path / "v.txt").read_text().splitlines()
        assert {len(line.split()) for line in lines[1:]} == {4}
        assert sum(line.startswith("▁") for line in lines) > 0


def test_gloves_form_has_no_header_and_words_with_spaces(tmp_path):
    path = tmp_path / "glove.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("the 0.5 1.5 -2\n. . . 1 2 3\nat a@b.c 4 5 6\n7 8 9 10\n")
    found, vectors = read_vectors(path)
    assert found == ["the", ". . .", "at a@b.c", "7"]
    assert vectors[:, 0].tolist() == [0.5, 1, 4, 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", "line 3: 2 numbers, where .* vectors of 3"),
        ("2 3\na 1 2 3\nb 1 2 3 4\n", "line 3: 4 numbers, where .* vectors of 3"),
        ("a 1 2\nb 1 x\n", "line 2: 'b 1 x' is no word and numbers"),
        ("a 1 2\nb 1 nan\n", "line 2: 'b 1 nan' is no word and finite numbers"),
        ("a 1 2\n\n", "line 2: 0 numbers"),
        ("3 2\na 1 2\nb 3 4\n", "2 vectors, not 3 lines of them: it was cut short"),
        ("", "0 vectors, not a line for each word"),
        ("alone\n", "line 1: 0 numbers"),
        ("the\t1\t2\n", r"line 1: .* parted by one, and .* by '\\t'"),
        ("the,1,2\n", "line 1: .* these seem to be by ','"),
    ],
)
def test_damage_is_named(tmp_path, text, message):
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_vectors(path)


@pytest.mark.parametrize("header", ["", "2 2\n"])
def test_a_byte_order_mark_is_of_no_word(tmp_path, header):
    """Else the first word, the most frequent one, would have no vector."""
    path = tmp_path / "v.txt"
    path.write_text(f"\ufeff{header}the 1 2\ncat 3 4\n")
    assert read_vectors(path)[0] == ["the", "cat"]


@pytest.mark.parametrize("header", ["", "6 2\n"])
def test_of_a_word_that_comes_again_the_first_vector_is_kept(tmp_path, header):
    path, told = tmp_path / "v.txt", []
    path.write_text(f"{header}the 1 2\nx 1 1\nx 2 2\ncat 2 1\nthe 9 9\nx 3 3\n")
    words, vectors = read_vectors(path, told.append)
    assert words == ["the", "x", "cat"]
    assert vectors.tolist() == [[1, 2], [1, 1], [2, 1]]
    assert told == [
        f"3 of 6 lines of {path} repeat a word, such as 'x': the first of each is kept"
    ]
    with pytest.warns(UserWarning, match="3 of 6 lines of"):
        read_vectors(path)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_compressed_vectors(tmp_path, pack):
    path = tmp_path / f"v.txt.{'bz2' if pack is bz2.compress else 'xz'}"
    path.write_bytes(pack(b"a 1 2\nb 3 4\n"))
    assert read_vectors(path)[0] == ["a", "b"]


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(UserError, match="There are no vectors at"):
        read_vectors(tmp_path / "nothing.txt")
    (tmp_path / "v.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as text"):
        read_vectors(tmp_path / "v.bin")
    (tmp_path / "v.gz").write_bytes(b"not compressed")
    with pytest.raises(UserError, match="v.gz is damaged"):
        read_vectors(tmp_path / "v.gz")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_vectors(tmp_path)


def test_words_that_the_format_cannot_hold(tmp_path):
    path = tmp_path / "v.txt"
    for names, message in [
        (["a", "b\tc"], r"'b\\tc' has white space"),
        (["a", ""], "'' has white space in it or is empty"),
        (["a", "a"], "'a' comes twice"),
        (["a"], "1 words can't name 2 vectors"),
    ]:
        with pytest.raises(UserError, match=message):
            write_vectors(path, names, np.zeros((2, 3)))
    assert not path.exists()
