"""ARPA files: what they say, in and out."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.counting import AddK, KneserNey, MaximumLikelihood, NGram
from lm_jax.errors import UserError
from lm_jax.exchange.arpa_reading import read_arpa
from lm_jax.exchange.arpa_writing import write_arpa
from lm_jax.runs.listing import listed
from lm_jax.runs.model import load_model
from lm_jax.runs.result import find_scores, read_result
from lm_jax.tokenizers import Characters, Words

# Pruned: "c d" and "d e" are gone and "c d e" is not, nor "b c d". "a" has a back-off
# above 1 and "e" none, one n-gram has spaces for tabs, and sections have no order.
ARPA = """
written by hand
\\data\\
ngram 1=8
ngram 2=8
ngram 3=5

\\1-grams:
-1.5\td\t-0.0
-0.9\t</s>
-99\t<s>\t-0.4
-2.0\t<unk>\t-7
-0.7\ta\t0.3
-0.8\tb\t-0.25
-1.1\tc\t-0.5
-3.25\te

\\2-grams:
-0.3\tb c\t-0.2
-0.35\ta b\t-0.1
-0.2\t<s> a\t-0.6
-0.9 c </s>
-1.0\t<unk> <unk>\t-2
-0.4\tc a
-1.25\td a\t-0.7
-0.1\te d

\\3-grams:
-0.05\t<s> a b
-0.15\tb c </s>
-3\t<unk> <unk> b
-0.6\tb c d
-0.65\td a c

\\end\\
"""

SENTENCES = [
    "a b c",
    "b c d a c",
    "a b c d e d a b",
    "x y b e x a",
    "",
    "e e d",
    "<unk> <unk> b",
]


def by_hand(text):
    """Give log10 p(word | context) by the definition, from the lines of a file."""
    lines = [line.split() for line in text.splitlines() if line.startswith(("-", "0"))]
    order = {}
    for line in lines:
        size = len(line) - 1 - is_number(line[-1])
        order[tuple(line[1 : size + 1])] = line
    p = {gram: float(line[0]) for gram, line in order.items()}
    back = {
        gram: float(line[-1])
        for gram, line in order.items()
        if len(line) > len(gram) + 1
    }

    def score(word, context):
        if (*context, word) in p or not context:
            return p.get((*context, word), -100.0)
        return back.get(context, 0.0) + score(word, context[1:])

    return p, score


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def scores_by_hand(text, sentences, order=3):
    p, score = by_hand(text)
    found = []
    for sentence in sentences:
        words = [w if (w,) in p else "<unk>" for w in sentence.split()]
        words = ["<s>", *words, "</s>"]
        for place in range(1, len(words)):
            context = tuple(words[max(0, place - order + 1) : place])
            found.append(score(words[place], context))
    return found


def scores(fitted, tokenizer, sentences):
    """Give log10 p of the words and ends of sentences."""
    ids = tokenizer.encode("\n" + "".join(f"{sentence}\n" for sentence in sentences))
    return fitted.log_probabilities(ids) / math.log(10)


def read(path, text):
    path.write_text(text)
    return read_arpa(path)


def without(text, line):
    assert text.count(line) == 1
    return text.replace(line, "")


def test_the_lines_say_what_is_scored(tmp_path):
    found = read(tmp_path / "hand.arpa", ARPA)
    assert found.notes == []
    ours = scores(found.fitted, found.tokenizer, SENTENCES)
    np.testing.assert_allclose(ours, scores_by_hand(ARPA, SENTENCES), atol=1e-12)
    write_arpa(found.fitted, found.tokenizer, tmp_path / "again.arpa")
    again = read_arpa(tmp_path / "again.arpa")
    theirs = scores(again.fitted, again.tokenizer, SENTENCES)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    text = (tmp_path / "again.arpa").read_text()
    np.testing.assert_allclose(ours, scores_by_hand(text, SENTENCES), rtol=1e-8)


def test_a_file_without_unknown_words(tmp_path):
    text = without(ARPA, "-2.0\t<unk>\t-7\n")
    text = without(text, "-1.0\t<unk> <unk>\t-2\n")
    text = without(text, "-3\t<unk> <unk> b\n")
    text = text.replace("1=8", "1=7").replace("2=8", "2=7").replace("3=5", "3=4")
    found = read(tmp_path / "hand.arpa", text)
    assert "There is no <unk>: log10 p of words that aren't there is -100" in "".join(
        found.notes
    )
    ours = scores(found.fitted, found.tokenizer, SENTENCES)
    np.testing.assert_allclose(ours, scores_by_hand(text, SENTENCES), atol=1e-12)


def test_what_goes_over_a_sentence_is_left_out(tmp_path):
    text = ARPA.replace("2=8", "2=10").replace(
        "-0.4\tc a\n", "-0.4\tc a\n-1\t</s> a\n-99\tc <s>\n"
    )
    found = read(tmp_path / "hand.arpa", text)
    assert "2 n-grams of order 2 go over" in "".join(found.notes)
    ours = scores(found.fitted, found.tokenizer, SENTENCES)
    np.testing.assert_allclose(ours, scores_by_hand(ARPA, SENTENCES), atol=1e-12)


TEXT = "the cat sat on the mat\na dog sat\nthe dog saw the cat\n\n<eos> is spelled\n"


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("smoothing", [KneserNey(), MaximumLikelihood()], ids=repr)
def test_a_model_is_the_same_after_export_and_import(tmp_path, order, smoothing):
    tokenizer = Words().train([TEXT * 3])
    end = tokenizer.sentence_end_id
    ids = tokenizer.encode(TEXT * 3)
    fitted = NGram(order, smoothing).fit(ids, tokenizer.vocab_size, end)
    write_arpa(fitted, tokenizer, tmp_path / "model.arpa.gz")
    again = read_arpa(tmp_path / "model.arpa.gz")
    assert sorted(again.tokenizer.words) == sorted(tokenizer.words)
    sentences = ["the cat saw a dog", "a mat is <eos> on zebras", "", "dog the"]
    ours = scores(fitted, tokenizer, sentences)
    theirs = scores(again.fitted, again.tokenizer, sentences)
    # An ARPA file has no logarithm of 0: -99 stands for it.
    np.testing.assert_allclose(
        np.maximum(ours, -99), np.maximum(theirs, -99), rtol=1e-8
    )
    assert isinstance(smoothing, MaximumLikelihood) or np.isfinite(ours).all()
    text = gzip.decompress((tmp_path / "model.arpa.gz").read_bytes()).decode()
    by_lines = scores_by_hand(text, sentences, order)
    np.testing.assert_allclose(
        np.maximum(by_lines, -99), np.maximum(ours, -99), rtol=1e-8
    )


def test_two_spellings_of_the_unknown_word_are_two_words(tmp_path):
    """<unk> stands for words that aren't there; <UNK> is none of them."""
    text = ARPA.replace("-1.1\tc\t-0.5", "-1.1\t<UNK>\t-0.5").replace("c", "<UNK>")
    both = read(tmp_path / "both.arpa", text)
    sentences = [s.replace("c", "<UNK>") for s in SENTENCES]
    wanted = scores_by_hand(text, sentences)
    found = scores(both.fitted, both.tokenizer, sentences)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    words = both.tokenizer.words
    assert len(set(words)) == len(words) and {"<unk>", "<UNK>"} <= {*words}
    assert "<UNK>: the first stands for" in both.notes[0]
    write_arpa(both.fitted, both.tokenizer, tmp_path / "again.arpa")
    again = read_arpa(tmp_path / "again.arpa")
    found = scores(again.fitted, again.tokenizer, sentences)
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\\n", "", "without the .data. of an ARPA file"),
        ("ngram 2=8", "ngram 3=8", "line 5: expected 'ngram 2=' and a number"),
        ("ngram 2=8", "ngram 2=9", "line 27: expected a number, 2 words"),
        ("ngram 2=8", "ngram 2=7", r"line 26: expected .*3-grams:, found '-0.1"),
        ("\\2-grams:", "\\3-grams:", "line 18: expected .*2-grams:"),
        ("\tb c\t-0.2", "\tb c d e", "line 19: expected a number, 2 words"),
        ("-0.3\tb c", "x\tb c", "line 19: x is no number"),
        ("-0.7\ta", "-0.1\ta", "line 16: .* that sum to 1.2 after one context"),
        ("-0.6\tb c d", "-0.1\tb c d", "line 33: .* that sum to 1.5 after one"),
        ("-0.3\tb c", "0.3\tb c", "line 19: the logarithm of p is above 0"),
        ("\tb c\t-0.2", "\tb c\tinf", "line 19: a number is not finite"),
        ("\tb c\t", "\tb q\t", "line 19: a word of this n-gram has no unigram"),
        ("\td a c", "\te a c", "line 33: the words before the last are no n-gram"),
        ("\td a c", "\tb c d", "line 33: this n-gram stands there twice"),
        ("\td\t-0.0", "\ta\t-0.0", "some word has two unigrams"),
        ("\\end\\\n", "", "the file ends here, without .end"),
    ],
)
def test_damaged_files_are_refused_with_the_line(tmp_path, old, new, message):
    assert ARPA.count(old) == 1
    with pytest.raises(UserError, match=message):
        read(tmp_path / "hand.arpa", ARPA.replace(old, new))


@pytest.mark.parametrize(
    ("how", "smoothing", "ends", "message"),
    [
        (Words(), AddK(), 1, "this model doesn't: KneserNey"),
        (Words(), KneserNey(), (1, 2), "Sentences and documents end by tokens"),
        (Characters(), KneserNey(), None, "can't stand in an ARPA file, whose words"),
    ],
)
def test_what_the_format_does_not_hold(tmp_path, how, smoothing, ends, message):
    tokenizer = how.train([TEXT])
    ids, size = tokenizer.encode(TEXT), tokenizer.vocab_size
    fitted = NGram(2, smoothing).fit(ids, size, ends)
    with pytest.raises(UserError, match=message):
        write_arpa(fitted, tokenizer, tmp_path / "model.arpa")
    assert list(tmp_path.iterdir()) == []


FILE = """
from lm_jax.counting import Given, NGram
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
experiment = CountExperiment(
    TokenStream(Corpus("text.txt"), Words()),
    NGram(3),
    evaluations={"likelihood": Likelihood()},
)
"""


def test_the_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT * 8)
    Path("counts.py").write_text(FILE)
    assert main(["train", "counts.py", "--run", "run"]) == 0
    assert main(["export", "run", "out.arpa"]) == 0
    assert main(["export", "run", "out.arpa"]) == 2
    assert main(["import", "out.arpa", "--run", "again", "--corpus", "text.txt"]) == 0
    assert "n-grams of order 3" in capsys.readouterr().out
    assert main(["evaluate", "again"]) == 0
    found = find_scores(read_result(Path("run")), "validation", "end")
    capsys.readouterr()
    assert main(["evaluate", "again", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["scores"]["loss"] == pytest.approx(found["loss"], rel=1e-8)
    model = load_model("again")
    assert len(model.generate("the cat", 5, temperature=0.0)) == 1
    assert listed(Path("again")).state == "given" != listed(Path("run")).state
    with pytest.raises(UserError, match="again was imported, quantized or merged"):
        read_result(Path("again"))
    Path("given.py").write_text(FILE.replace("NGram(3)", "NGram(3, Given())"))
    assert main(["train", "given.py", "--run", "third"]) == 2
    assert "smoothing of n-grams that were imported" in capsys.readouterr().err
