"""What a checkpoint's tokenizer puts around texts stands around those of rows too."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.data import Delete, Labelled, Mask, Passages, Swap
from lm_jax.data.augmenting import augmented
from lm_jax.data.examples import joined, read_whole, side_by_side
from lm_jax.data.pieces import Cutter
from lm_jax.data.questions import ask
from lm_jax.retrieval.terms import terms_of
from lm_jax.text import Collection, Corpus
from lm_jax.text.squad import Passage, Question
from lm_jax.tokenizers import Characters, Pretrained
from tests.exchange.made import write_bert_tokenizer
from tests.properties import quick
from tests.retrieval import write_collection

CLS, SEP = 2, 3
FIRST = ["abcdef"[: k + 1] for k in range(6)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tokenizers with one [SEP] between texts, and with two."""
    root = tmp_path_factory.mktemp("around")
    write_bert_tokenizer(root / "bert")
    write_bert_tokenizer(root / "roberta", doubled=True)
    rows = [
        {
            "label": "no" if k % 2 else "yes",
            "text": " ".join(one),
            "two": "the cat sees",
        }
        for k, one in enumerate(FIRST)
    ]
    lines = (json.dumps(row) + "\n" for row in rows)
    (root / "table.jsonl").write_text("".join(lines))
    return root


def ids(tokenizer, letters):
    return tokenizer.encode(" ".join(letters))


LETTERS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9)


@quick
@given(st.sampled_from(["bert", "roberta"]), LETTERS, LETTERS, st.integers(6, 24))
def test_a_row_is_what_the_library_makes_of_the_texts(folders, kind, one, two, room):
    tokenizer = Pretrained(str(folders / kind)).train(())
    library = tokenizer.pieces
    single = library.encode(" ".join(one), add_special_tokens=True).ids
    assert read_whole(tokenizer, ids(tokenizer, one)).tolist() == single
    ended = np.append(ids(tokenizer, one), SEP)
    (alone,) = joined([ended], room, tokenizer.around)
    assert alone.tolist() == [*single[:-1][: room - 1], SEP]
    parts = [np.append(ids(tokenizer, each), SEP) for each in (one, two)]
    found = joined(parts, room, tokenizer.around)
    whole = library.encode(" ".join(one), " ".join(two), add_special_tokens=True)
    if len(whole.ids) <= room:
        assert np.concatenate(found).tolist() == whole.ids
        kinds = side_by_side(found, room)["segments"][: len(whole.ids)] - 1
        second = len(found[0])
        assert kinds.tolist() == [0] * second + [1] * len(found[1])
        # RoBERTa has no kinds of text: what stands between is of either.
        assert kind == "roberta" or kinds.tolist() == whole.type_ids
    else:
        assert sum(map(len, found)) == room
        assert [part[-1] for part in found] == [SEP, SEP] and found[0][0] == CLS
        lost = [
            len(each) - len(part) for each, part in zip((one, two), found, strict=True)
        ]
        longer = np.argmax([len(one), len(two)])
        assert lost[longer] >= lost[1 - longer] or len(one) == len(two)


def test_texts_of_other_tokenizers_stay_as_they_were():
    tokenizer = Characters().train(["abc"], end=True)
    assert tokenizer.around is None
    assert read_whole(tokenizer, tokenizer.encode("ab")).tolist() == [
        *tokenizer.encode("ab"),
        tokenizer.end_id,
    ]
    assert joined([np.arange(5)], 3)[0].tolist() == [0, 1, 2]


def table(folders, cache, pair, lengths=(8, 12)):
    source = Corpus(str(folders / "table.jsonl"), validation=0.0)
    tokenizer = Pretrained(str(folders / "bert"))
    return Labelled(source, tokenizer, lengths=lengths, pair=pair).prepare(cache)


def texts_of(made, row):
    """The tokens of each text, as symbols."""
    kinds = sorted(set(row["segments"]) - {0})
    return [made.tokenizer.symbols(row["inputs"][row["segments"] == k]) for k in kinds]


@pytest.mark.parametrize("pair", ["", "two"])
def test_texts_with_labels_stand_in_them(folders, pair, tmp_path):
    made = table(folders, tmp_path, pair)
    windows = made.evaluation("train", 1)
    found = [texts_of(made, windows.row(k)) for k in range(windows.count)]
    second = [["the", "cat", "sees", "[SEP]"]] if pair else []
    wanted = [[["[CLS]", *each, "[SEP]"], *second] for each in FIRST]
    assert sorted(found) == sorted(wanted)
    said = "3 pairs" if pair else "4 texts"
    cut = table(folders, tmp_path, pair, (9,) if pair else (4,)).statement
    assert f"{said} are cut to {9 if pair else 4} tokens" in cut


def test_what_augments_leaves_it_where_it_is(folders, tmp_path):
    tokenizer = Pretrained(str(folders / "bert")).train(())
    some = (Mask(0.5), Delete(0.5), Swap(0.5))
    _, redraw = augmented(some, tokenizer, 2)
    parts = [np.append(ids(tokenizer, each), SEP) for each in ("abcd", "efgh")]
    row = side_by_side(joined(parts, 16, tokenizer.around), 16)
    lengths = set()
    for example in range(30):
        found = redraw(row, 0, 0, example)
        one, two = (found["inputs"][found["segments"] == k].tolist() for k in (1, 2))
        assert one[0] == CLS and one[-1] == two[-1] == SEP
        inner = [*one[1:-1], *two[:-1]]
        assert not {CLS, SEP} & {*inner}
        lengths.add(len(inner))
    assert len(lengths) > 2


def test_queries_and_passages_stand_in_them(folders, tmp_path):
    write_collection(tmp_path / "c")
    tokenizer = Pretrained(str(folders / "bert"))
    collection = Collection(str(tmp_path / "c"))
    made = Passages(collection, tokenizer, 8, (8, 16), titles=True).prepare(tmp_path)
    windows = made.evaluation("train", 2)
    for k in range(windows.count):
        row = windows.row(k)
        for name in ("query", "passage"):
            tokens = np.atleast_2d(row[f"{name}_inputs"])
            for text, real in zip(
                tokens, np.atleast_2d(row[f"{name}_segments"]) > 0, strict=True
            ):
                own = text[real]
                assert own[0] == CLS and own[-1] == SEP
                assert not {CLS, SEP} & {*own[1:-1]}
    for texts in (made.searchable.passages, *made.searchable.queries.values()):
        assert all(own[0] == CLS and own[-1] == SEP for own in texts)
        for own in texts:  # and are no terms of BM25's
            terms = own[own != made.tokenizer.unknown_id][1:-1]
            assert terms_of(made.tokenizer, own).tolist() == terms.tolist()


def test_a_question_begins_with_a_class_token(folders, tmp_path):
    asked = [Passage("x", "the cat sees a", (Question("q", "the mouse", ()),))]
    tokenizer = Pretrained(str(folders / "bert")).train(())
    found = ask(asked, Cutter(tokenizer), (CLS, SEP), 16, 8, 4)
    row = found.row(0, 16)
    symbols = tokenizer.symbols(row["inputs"][row["segments"] > 0])
    assert symbols[:4] == ["[CLS]", "the", "mouse", "[SEP]"]
