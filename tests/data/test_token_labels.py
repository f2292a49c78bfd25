"""Each word of a sentence has its label, at its first token."""

import numpy as np
import pytest

from lm_jax.data import TokenLabels, token_labels
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.text.conll import Sentence, read_conll
from lm_jax.tokenizers import Bytes, Words


def write(path, *sentences):
    lines = ["\n".join(f"{w}\t{t}" for w, t in words) for words in sentences]
    path.write_text("\n\n".join(lines) + "\n")
    return path


def test_sentences_are_parted_by_blank_lines(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O O\n\n\nEU NNP B-NP B-O\n. . O O\n\n \na b c O\n")
    assert list(read_conll(path)) == [
        Sentence(("EU", "."), ("B-O", "O"), path, 4),
        Sentence(("a",), ("O",), path, 8),
    ]
    path.write_text("\nEU B-O\nthe O")
    assert [sentence.line for sentence in read_conll(path)] == [2]
    path.write_text("EU B-O\nalone\n")
    with pytest.raises(UserError, match=r"a.conll, line 2: 'alone' is no word"):
        list(read_conll(path))


def test_a_word_may_have_spaces_where_tabs_part_the_columns(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("New York\tNP \tB-L\nS\xa0A\tNP\tI-L\n\n#\tX\tO\n")
    found = [(sentence.words, sentence.labels) for sentence in read_conll(path)]
    assert found == [(("New York", "S\xa0A"), ("B-L", "I-L")), (("#",), ("O",))]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.conll", "EU NNP B-O\nNew York NNP B-L\n", "line 2: .* 4 columns, and line"),
        ("a.conll", "EU NNP B-O\nrejects VBZ\n", "line 2: .* 2 columns, and line 1"),
        ("a.conll", "# text = a b\n1\ta\tX\n", "line 2: .* 3 columns, .*comments"),
        ("a.conll", "1\tthe\tDET\n2\tcat\tNOUN\n", "line 1: the first column counts"),
        ("a.conll", "EU\tB-O\n\tO\n", "line 2: .* is no word and label"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}\n', "is a table by its name"),
        ("a.parquet", "PAR1\xff", "is a table by its name"),
    ],
)
def test_what_has_other_columns_is_no_word_and_label(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=said):
        TokenLabels(Corpus(str(path))).prepare(tmp_path / "cache")


@pytest.mark.parametrize("tokenizer", [Words(), Bytes()])
def test_every_word_is_in_one_row_with_its_label(tmp_path, tokenizer):
    """Also those of a sentence that is longer than a row."""
    folder = tmp_path / "all"
    folder.mkdir()
    long = [(f"w{k}", "B-X" if k % 3 else "O") for k in range(11)]
    sentences = [[("Zoë", "B-Y"), ("x", "I-Y")], long, [("a", "O")] * 3]
    write(folder / "train.conll", *sentences)
    write(folder / "dev.conll", *sentences[:1])
    lengths = (4, 8) if isinstance(tokenizer, Words) else (8, 16)
    made = TokenLabels(Corpus(str(folder)), tokenizer, lengths).prepare(tmp_path / "c")
    assert made.labels == ("O", "B-X", "B-Y", "I-Y")
    assert "Longer sentences are read in" in made.statement
    first, *rest = made.sentences["train"]
    assert first == 0 and rest == [1] * (len(rest) - 1) + [2] and len(rest) > 2
    assert made.sentences["validation"] == [0]
    windows = made.evaluation("train", 2)
    found = {}
    for k in range(len(windows)):
        batch, numbers = windows[k], windows.numbers(k)
        for row, number in enumerate(numbers):
            arrays = {name: array[row] for name, array in batch.items()}
            tags, mask = arrays["tags"], arrays["mask"]
            np.testing.assert_array_equal(tags >= 0, mask == 1)
            assert (mask <= arrays["segments"]).all()
            found[int(number)] = [made.labels[tag] for tag in tags[mask == 1]]
            read = arrays["inputs"][arrays["segments"] > 0]
            if number == 0:
                assert made.tokenizer.decode(read).replace(" ", "") == "Zoëx"
    rows = [label for number in sorted(found) for label in found[number]]
    assert rows == [label for words in sentences for _, label in words]
    batch = made.order(0, 3).batch(0)
    assert {field.name for field in made.fields} == set(batch)


def test_a_word_that_fits_no_row_and_unknown_labels_are_refused(tmp_path):
    path = write(tmp_path / "a.conll", *[[("x" * 9, "A"), ("y", "B")]] * 20)
    data = TokenLabels(Corpus(str(path), validation=0.0), Bytes(), (8,))
    with pytest.raises(UserError, match="a.conll, line 1: .*xxx' has 9 tokens"):
        data.prepare(tmp_path / "c")
    data = TokenLabels(Corpus(str(path), validation=0.0), classes=("A", "C"))
    with pytest.raises(UserError, match=r"classes: B \(first at .*a.conll, line 2"):
        data.prepare(tmp_path / "c")
    with pytest.raises(UserError, match="There is no file or folder"):
        TokenLabels(Corpus("none.conll")).prepare(tmp_path / "c")


def test_sentences_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.conll", [("a", "O")], [("b", "O")])

    def changed(file):
        write(file, [("b", "O")], [("a", "O")])
        return read_conll(file)

    monkeypatch.setattr(token_labels, "read_conll", changed)
    with pytest.raises(UserError, match="changed while"):
        TokenLabels(Corpus(str(path))).prepare(tmp_path / "cache")
