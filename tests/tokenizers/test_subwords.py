"""Subwords give back every text, wherever it is cut."""

import random
import re
from collections import Counter
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.text.known import SHIPPED
from lm_jax.text.reading import blocks
from lm_jax.tokenizers import Subwords, distinct
from lm_jax.tokenizers import subwords as remembering
from lm_jax.tokenizers.sampling import sample
from tests.properties import quick
from tests.tokenizers import ENGLISH, anything, texts


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def subwords(request):
    files = ("tinyshakespeare.txt.gz", "tangshi300.tsv.gz")
    learned = [next(blocks(SHIPPED / name))[:30_000] for name in files]
    return Subwords(size=3000, kind=request.param).train(learned, end=True)


@pytest.fixture(scope="module")
def lower_subwords():
    learned = [next(blocks(SHIPPED / "tinyshakespeare.txt.gz"))[:30_000]]
    return Subwords(size=600, lowercase=True).train(learned)


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


@quick
@given(st.lists(anything, min_size=1, max_size=4))
@example(["", "\n", "a▁ b", "  ▁\n\n x"])
def test_words_that_are_remembered_have_sentencepieces_ids(subwords, parts):
    """As many texts together, by either way to cut them, as line by line."""
    for few in (1, 1 << 20):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(distinct, "_FEW", few)
            patched.setattr(remembering, "_REMEMBERED", 3)
            found = subwords.encode_all(parts)
        assert [each.tolist() for each in found] == [
            list(chain.from_iterable(plainly(subwords, text))) for text in parts
        ]


def plainly(subwords, text):
    """What SentencePiece gives for each line, and the bytes of its own space sign."""
    for k, clean in enumerate(text.split("▁")):
        if k:
            yield [subwords._pieces.piece_to_id(f"<0x{b:02X}>") for b in "▁".encode()]
        yield from subwords._pieces.encode(re.findall("[^\n]*\n|[^\n]+", clean))


def test_long_lines_are_cut_without_effect(subwords):
    text = "that is the question  or  not " * 400
    whole = subwords._pieces.encode(text)
    assert subwords.encode(text).tolist() == whole


@quick
@given(anything)
@example("THE Cat\nÄRGER İ ΣΑΣ")
def test_small_letters_come_back(lower_subwords, text):
    assert lower_subwords.canonical(text) == text.lower()
    assert lower_subwords.decode(lower_subwords.encode(text)) == text.lower()


def test_capitals_are_read_as_small_letters(lower_subwords):
    text = next(blocks(SHIPPED / "tinyshakespeare.txt.gz"))[:300]
    assert text != text.lower()
    ids = lower_subwords.encode(text).tolist()
    assert ids == lower_subwords.encode(text.upper()).tolist()
    assert lower_subwords.forgets == "capitals"
    pieces = lower_subwords.pieces()
    assert not any(pieces[i] != pieces[i].lower() for i in lower_subwords.scores())


def test_subwords_that_cannot_be_had():
    with pytest.raises(UserError, match="or less"):
        Subwords(size=30_000).train([ENGLISH])
    with pytest.raises(UserError, match="or more"):
        Subwords(size=300).train([chr(0x4E00 + i) * 2 for i in range(900)])
    with pytest.raises(UserError, match="size=300"):
        Subwords(size=10)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("size", [300, 1000, 30_000])
@pytest.mark.parametrize(
    "text",
    [
        "ab ab abc",
        "the cat sat on the mat and that was that " * 3,
        "".join(chr(0x4E00 + i) * 2 for i in range(900)),
        ENGLISH,
    ],
)
def test_the_size_that_is_advised_can_be_had(text, size, kind):
    """Or another tokenizer is, where no size will do."""
    said = ""
    try:
        Subwords(size, kind).train([text])
    except UserError as error:
        said = str(error)
    advised = re.search(r"Use size=(\d+)", said)
    if advised:
        Subwords(int(advised[1]), kind).train([text])
    assert advised or not said or "fewer than the least size, 300" in said
    assert text != "ab ab abc" or "Use Bytes() or Characters()" in said


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_no_text_is_told(text):
    with pytest.raises(UserError, match="has no text to learn from"):
        Subwords(300).train([text])


@quick
@given(st.lists(st.text(max_size=9)), st.integers(0, 60), st.integers(1, 4))
def test_the_sample_keeps_its_budget_and_order(lines, budget, size):
    kept = sample([lines], budget)
    assert sum(len(line.encode()) for line in kept) <= budget
    groups = [lines[i : i + size] for i in range(0, len(lines), size)]
    assert kept == sample(groups, budget)
    rest = iter(lines)
    assert all(line in rest for line in kept)
    if sum(len(line.encode()) for line in lines) <= budget:
        assert kept == lines


def test_the_sample_uses_its_budget_evenly():
    lines = [f"{i:09d}" for i in range(20_000)]
    kept = sample([lines[:7_000], lines[7_000:]], 18_000)
    assert sum(map(len, kept)) > 15_000
    places = Counter(int(line) // 5000 for line in kept)
    assert min(places.values()) > 0.2 * len(kept)
    draw = random.Random(0).random
    numbers = {line: draw() for line in lines}
    left = numbers.keys() - set(kept)
    assert max(map(numbers.get, kept)) < min(map(numbers.get, left))
