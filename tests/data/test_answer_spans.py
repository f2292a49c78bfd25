"""Windows of passages hold every token, and answers come back as they were written."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from lm_jax.data import AnswerSpans
from lm_jax.data.pieces import Cutter, pieces_of, spaced
from lm_jax.data.questions import ask, windows_of
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.text.squad import Answer, Passage, Question
from lm_jax.tokenizers import Bytes, Subwords, Words
from tests.text.test_squad import article, asked, many, write_squad

TOKENIZERS = Words(), Words(lowercase=True), Bytes()
WRITTEN = st.text(
    st.sampled_from("ab Zé9.,'-_\n\t 中文。，？👍İ\u3000\u0301"),
    min_size=1,
    max_size=60,
)


@given(WRITTEN)
def test_nothing_but_white_space_lies_between_pieces(text):
    spans = pieces_of(text)
    inside = set()
    for start, end in spans:
        assert start < end and not inside & {*range(start, end)}
        inside |= {*range(start, end)}
    assert all(text[k].isspace() for k in set(range(len(text))) - inside)
    assert spaced(text).split() == [text[a:b] for a, b in spans]
    # A tokenizer of words has a token for each.
    for lowercase in (False, True):
        words = Words(lowercase=lowercase).train([spaced(text)], end=True)
        assert len(Cutter(words)(text).ids) == len(spans)


def test_pieces_are_words_marks_and_single_chinese_characters():
    text = "It's 15.5ha; 在2010年 naïve—yes"
    found = [text[a:b] for a, b in pieces_of(text)]
    wanted = "It ' s 15 . 5ha ; 在 2010 年 naïve — yes"
    assert found == wanted.split()


# Letters, marks of several writings on and beside them, digits, punctuation, spaces.
AS_BERT = st.text(
    st.sampled_from("aZé\u0301\u0327\u20ddкशक्िंกี่عَ²½9.,'-$¿…\u2019\n\u3000中文，。")
    | st.characters(
        categories=["L", "M", "N", "P"], max_codepoint=0x5FF, exclude_characters="_"
    ),
    max_size=20,
)


@given(AS_BERT)
def test_pieces_are_those_of_cased_bert(text):
    """Those of transformers' BertTokenizerFast(do_lower_case=False), made of these."""
    plain = BertNormalizer(strip_accents=None, lowercase=False).normalize_str(text)
    parts = BertPreTokenizer().pre_tokenize_str(plain)
    assert [text[a:b] for a, b in pieces_of(text)] == [part for part, _ in parts]


@given(st.integers(0, 50), st.integers(1, 12), st.integers(1, 20))
def test_windows_hold_every_token_and_none_lies_in_another(tokens, room, stride):
    found = list(windows_of(tokens, room, stride))
    covered = {k for first, end in found for k in range(first, end)}
    assert covered == set(range(tokens))
    assert all(end - first <= room for first, end in found)
    ends = [end for _, end in found]
    assert ends == sorted(set(ends)) and len(found) >= 1
    starts = np.diff([first for first, _ in found])
    assert (starts == min(stride, room)).all()


@st.composite
def passages(draw):
    """Passages with questions whose answers are whole pieces, anywhere."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        text = draw(WRITTEN) + "a"
        spans, questions = pieces_of(text), []
        for k in range(draw(st.integers(0, 3))):
            first = draw(st.integers(0, len(spans) - 1))
            last = draw(st.integers(first, len(spans) - 1))
            start, end = spans[first][0], spans[last][1]
            answers = (Answer(start, text[start:end]),) if draw(st.booleans()) else ()
            questions.append(Question(f"{number}-{k}", draw(WRITTEN), answers))
        made.append(Passage(str(number), text, tuple(questions)))
    return made


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(passages(), st.sampled_from(TOKENIZERS), st.integers(1, 9))
def test_an_answer_comes_back_as_it_was_written(made, tokenizer, stride):
    """Of every question, from the windows that hold all of it, and of these alone."""
    texts = [t for p in made for t in (p.text, *(q.text for q in p.questions))]
    trained = tokenizer.train(map(spaced, texts), end=True)
    cut = Cutter(trained)
    longest = 20 if isinstance(tokenizer, Words) else 90
    found = ask(made, cut, (7, 7), longest, 8, stride)
    assert [q for _, q in found.asked] == [q for p in made for q in p.questions]
    for number, (passage, question) in enumerate(found.asked):
        rows = np.flatnonzero(found.question_of == number).tolist()
        held = []
        for row in rows:
            arrays = found.row(row, longest)
            start, end = int(arrays["start"]), int(arrays["end"])
            real = int((arrays["segments"] > 0).sum())
            assert 0 <= start <= end < max(real, 1) and real <= longest
            text = found.text(row, start, end)
            held.append(text)
            assert text in ("", *(a.text for a in question.answers))
            assert (start == 0) == (text == "") == (end == 0)
            part = arrays["inputs"][arrays["segments"] == 2]
            window = found.windows[row]
            whole = found.cuts[passage].ids[window.first : window.end]
            np.testing.assert_array_equal(part, whole)
            assert {len(array) for array in arrays.values() if array.ndim} == {longest}
        first, last = found.answers[number]
        inside = [w.first <= first and last < w.end for w in found.windows]
        told = [bool(text) for text in held]
        wanted = [inside[row] and first >= 0 for row in rows]
        assert told == wanted
        assert bool(question.answers) == (first >= 0)


def test_words_of_the_question_are_marked_in_the_passage():
    text = "The Cat sat. A dog saw the cat."
    passage = Passage("a", text, (Question("q", "Who saw THE cat", ()),))
    words = Words(lowercase=True).train([spaced(text)], end=True)
    marks = words.end_id, words.end_id
    [row] = [ask([passage], Cutter(words), marks, 32, 16, 8).row(0, 20)]
    marked = np.flatnonzero(row["matches"])
    symbols = words.symbols(row["inputs"])
    assert [symbols[k] for k in marked] == ["the", "cat", "saw", "the", "cat"]
    assert (row["segments"][marked] == 2).all()
    assert symbols[0] == symbols[5] == "<|end|>"
    np.testing.assert_array_equal(row["segments"][:8], [1, 1, 1, 1, 1, 1, 2, 2])


def test_what_stands_after_a_passage_is_no_part_of_it():
    """As BERT reads it: [CLS] question [SEP] passage [SEP]."""
    text = "one two three four five"
    passage = Passage("a", text, (Question("q", "two ?", (Answer(8, "three"),)),))
    words = Words().train([text + " ?"], end=True)
    found = ask([passage], Cutter(words), (70, 71, 72), 8, 4, 2)
    assert [window[2:] for window in found.windows] == [(0, 3), (2, 5)]
    assert found.buckets((7, 8)).lengths == (8,)
    row = found.row(0, 9)
    cut = found.cuts[0].ids[:3].tolist()
    assert row["inputs"].tolist() == [70, *found.short[0].ids, 71, *cut, 72, 0]
    assert row["segments"].tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 0]
    assert (row["start"], row["end"], row["matches"][7]) == (6, 6, 0)
    assert found.text(0, 6, 6) == "three"


def test_what_most_people_answered_is_learnt():
    text = "one two three"
    answers = Answer(0, "one"), Answer(4, "two"), Answer(4, "two"), Answer(-1, "nine")
    questions = Question("q", "?", answers), Question("r", "?", answers[3:])
    words = Words().train([text], end=True)
    found = ask([Passage("a", text, questions)], Cutter(words), (0, 0), 16, 4, 8)
    row, unknown = found.row(0, 16), found.row(1, 16)
    assert found.text(0, int(row["start"]), int(row["end"])) == "two"
    assert (row["mask"], unknown["mask"], unknown["start"]) == (1, 0, 0)


def long_articles(path):
    rows = []
    for k in range(12):
        text = " ".join(f"w{j}" for j in range(k, 40 + k)) + f" key{k} ends."
        start = text.index(f"key{k}")
        question = asked(f"q{k}", (f"key{k}", start)) | {"question": f"Where is {k} ?"}
        none = asked(f"n{k}", impossible=True)
        half = asked(f"h{k}", (f"ey{k}", start + 1))
        rows.append(article(f"Title {k}", question, none, half, text=text))
    return write_squad(path, *rows)


@pytest.mark.parametrize("tokenizer", [Words(), Subwords(size=300), Bytes()])
def test_a_corpus_is_rows_of_a_few_lengths(tmp_path, tokenizer):
    path = long_articles(tmp_path / "a.json")
    lengths = (32, 64) if isinstance(tokenizer, Words) else (64, 128)
    data = AnswerSpans(Corpus(str(path)), tokenizer, lengths, stride=8, question=16)
    made = data.prepare(tmp_path / "cache")
    order = made.order(0, "256 tokens")
    batch = order.batch(0)
    assert {f.name for f in made.fields} == set(batch) == set(data.gives)
    for field in made.fields:
        shape = (len(batch["mask"]), *field.sized(batch["inputs"].shape[1]))
        assert batch[field.name].shape == shape
        assert batch[field.name].dtype == field.dtype
    windows, seen = made.evaluation("test", 2), []
    for k in range(len(windows)):
        seen += windows.numbers(k).tolist()
    assert sorted(seen) == list(range(len(made.questions["test"].windows)))
    whole = [len(made.questions[s].asked) for s in ("train", "validation", "test")]
    assert sum(whole) == 36 and "12 answers begin or end within" in made.statement


def test_what_is_cut_is_said(tmp_path):
    long = asked("q", ("1843", 41)) | {"question": "so " * 30 + "what?"}
    path = write_squad(tmp_path / "a.json", *many(5), article("Long", long))
    data = AnswerSpans(Corpus(str(path)), lengths=(32,), question=8)
    made = data.prepare(tmp_path / "cache")
    assert "1 of 6 questions are cut to 8 tokens" in made.statement
    with pytest.raises(UserError, match="no room for a passage"):
        AnswerSpans(lengths=(16,), question=16)
    with pytest.raises(UserError, match="data.fold=5: the folds are 0 to 4"):
        AnswerSpans(fold=5)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "'(train|validation|test)' has passages and no question"),
        ([asked("q", impossible=True)], "No question of the training split has an"),
    ],
)
def test_what_asks_nothing_or_is_never_answered_is_refused(tmp_path, rows, said):
    """All of it would be told rightly by saying that there is no answer."""
    named = [[row | {"id": f"q{k}"} for row in rows] for k in range(12)]
    articles = (article(f"Title {k}", *each) for k, each in enumerate(named))
    path = write_squad(tmp_path / "a.json", *articles)
    with pytest.raises(UserError, match=said):
        AnswerSpans(Corpus(str(path)), lengths=(32,), question=8).prepare(
            tmp_path / "cache"
        )
