"""Augmentation: at the rates asked, of training alone, a function of seed and place."""

import json
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.counting import NaiveBayes
from lm_jax.data import BPEDropout, Delete, Labelled, Mask, Rated, Share, Swap
from lm_jax.data.bpe_dropout import merged
from lm_jax.data.randomness import uniform
from lm_jax.errors import UserError
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Subwords, Words
from tests.data.test_pairs import write_pairs
from tests.properties import quick

SOME = (Mask(0.2), Delete(0.2), Swap(0.2))
TRAINED = Characters().train(["".join(map(chr, range(0x100, 0x200)))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_pairs(folder / "pairs.jsonl", count=90)
    return folder


def rated(folder, augment, pair="two", lengths=(4, 12), **fields):
    corpus = Corpus(str(folder / "pairs.jsonl"), column="one", test=0.1)
    fields = {"tokenizer": Words(), "value": "how"} | fields
    data = Rated(corpus, lengths=lengths, pair=pair, augment=augment, **fields)
    return data.prepare(folder / "cache")


@pytest.mark.parametrize(
    ("operation", "share"),
    [
        (Mask(0.3), lambda ids, found: (found == TRAINED.vocab_size).mean()),
        (Delete(0.3), lambda ids, found: 1 - len(found) / len(ids)),
    ],
)
def test_tokens_are_hidden_and_left_out_at_the_rate(operation, share):
    """Each place as often, in short texts as in long ones."""
    change = operation.change(TRAINED)
    for size in (3, 40):
        ids = np.arange(size)
        found = [share(ids, change(ids, uniform(0, size, k))) for k in range(1500)]
        # Of three tokens all would be left out 0.3^3 times: then one stays.
        wanted = 0.3 - isinstance(operation, Delete) * 0.3**size / size
        assert np.mean(found) == pytest.approx(wanted, abs=0.015)


def test_every_place_is_left_out_as_often():
    change = Delete(0.3).change(TRAINED)
    kept = Counter(i for k in range(2000) for i in change(np.arange(6), uniform(k)))
    assert np.array([kept[i] for i in range(6)]) / 2000 == pytest.approx(0.7, abs=0.04)


@pytest.mark.slow
def test_tokens_change_places_with_any_other_at_the_rate():
    change = Swap(0.3).change(TRAINED)
    two = [change(np.arange(2), uniform(2, k))[0] for k in range(3000)]
    # They stand the other way round after one swap of two, not after both.
    assert np.mean(two) == pytest.approx(2 * 0.3 * 0.7, abs=0.03)
    one = Swap(1 - 1e-6).change(TRAINED)(np.arange(1), uniform(0))
    assert one.tolist() == [0]
    # Where the first of five is swapped alone, it goes to each other place as often.
    places = Counter(
        int(np.flatnonzero(found == 0)[0])
        for k in range(4000)
        for found in [Swap(0.05).change(TRAINED)(np.arange(5), uniform(5, k))]
    )
    moved = np.array([places[i] for i in range(1, 5)]) / (4000 - places[0])
    assert moved == pytest.approx(0.25, abs=0.06)


@quick
@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.floats(0, 0.99),
    st.integers(0, 9),
)
def test_what_is_left_is_of_the_text(ids, rate, seed):
    ids = np.array(ids, np.int32)
    swapped = Swap(rate).change(TRAINED)(ids, uniform(seed))
    assert sorted(swapped) == sorted(ids)
    kept = Delete(rate).change(TRAINED)(ids, uniform(seed)).tolist()
    rest = iter(ids.tolist())
    assert all(each in rest for each in kept) and bool(kept) == bool(len(ids))
    hidden = Mask(rate).change(TRAINED)(ids, uniform(seed))
    assert ((hidden == ids) | (hidden == TRAINED.vocab_size)).all()
    for operation in (Swap, Delete, Mask):
        assert (operation(0.0).change(TRAINED)(ids, uniform(seed)) == ids).all()


def rows_of(order, epochs):
    """The rows of some epochs by the number that each tells, in turn."""
    for step in range(int(order.steps_per_epoch) * epochs):
        batch = order.batch(step)
        for r in range(len(batch["mask"])):
            if batch["mask"][r]:
                yield step, r, {name: array[r] for name, array in batch.items()}


def test_a_row_is_a_function_of_seed_epoch_and_example(folder):
    made, again = (rated(folder, SOME).order(0, 8) for _ in range(2))
    other, plain = rated(folder, SOME).order(1, 8), rated(folder, ()).order(0, 8)
    late = int(made.steps_per_epoch) * 2 - 1
    for name, array in made.batch(late).items():
        np.testing.assert_array_equal(array, again.batch(late)[name])
    first, both, others = (
        {tuple(row["inputs"].tolist()) for *_, row in rows_of(order, epochs)}
        for order, epochs in ((made, 1), (made, 2), (other, 1))
    )
    # Another epoch changes them otherwise, and so does another seed.
    assert len(both) > 1.3 * len(first) and len(others - first) > 0.3 * len(first)
    # What is told of an example, and which it is, stays.
    for step, r, row in rows_of(made, 1):
        assert plain.row(step, r)["value"] == row["value"]
    parts = [made.batch(late, Share((part,), 2)) for part in (0, 1)]
    for name, array in made.batch(late).items():
        whole = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(whole, array)


def test_one_operation_moves_no_draw_of_another(folder):
    alone, both = (
        rated(folder, ops, "").order(0, 8) for ops in ((SOME[0],), (SOME[0], SOME[1]))
    )
    for step, r, row in rows_of(alone, 1):
        hidden = row["inputs"][row["segments"] > 0]
        kept = iter(hidden.tolist())
        left = both.row(step, r)
        left = left["inputs"][left["segments"] > 0].tolist()
        assert all(each in kept for each in left)


def test_ends_stay_and_no_token_leaves_its_text(folder):
    made, plain = rated(folder, SOME), rated(folder, ())
    order, unchanged = made.order(0, 8), plain.order(0, 8)
    end, mask = made.tokenizer.end_id, made.vocab_size - 1
    assert made.vocab_size == plain.vocab_size + 1
    changed = 0
    for step, r, row in rows_of(order, 3):
        was = unchanged.row(step, r)
        changed += row["inputs"].tolist() != was["inputs"].tolist()
        for text in (1, 2):
            own, before = (x["inputs"][x["segments"] == text] for x in (row, was))
            assert own[-1] == end and (own == end).sum() == 1 and len(own) > 1
            assert not Counter(own[own != mask].tolist()) - Counter(before.tolist())
    assert changed > 50


def test_evaluations_read_texts_as_they_are(folder):
    made, plain = (rated(folder, ops) for ops in (SOME, ()))
    for split in made.splits:
        own, other = made.evaluation(split, 4), plain.evaluation(split, 4)
        for k in range(len(own)):
            for name, array in own[k].items():
                np.testing.assert_array_equal(array, other[k][name])
    assert "Mask 0.2, Delete 0.2, Swap 0.2. Evaluations don't." in made.statement
    assert "Evaluations don't" not in plain.statement


def test_texts_with_labels_are_augmented_too(tmp_path):
    path = tmp_path / "table.jsonl"
    rows = [{"text": f"red green blue n{k}", "kind": "ab"[k % 2]} for k in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    make = partial(Labelled, Corpus(str(path)), Words(), "kind", (4,))
    made = make(augment=(Delete(0.5),)).prepare(tmp_path / "cache")
    lengths = [(row["segments"] > 0).sum() for *_, row in rows_of(made.order(0, 4), 1)]
    assert {1, 4} < set(lengths) and np.mean(lengths) < 3
    assert made.vocab_size == make().prepare(tmp_path / "cache").vocab_size


TEXT = "the lower newest widest low lowest new 東京 newer wider\n" * 9


@pytest.fixture(scope="module")
def subwords():
    return Subwords(size=310).train([TEXT])


def test_without_dropout_byte_pair_encoding_is_sentencepieces(subwords):
    change = BPEDropout(0.0).change(subwords)
    for text in (TEXT, "  new  lower\n\nnewest unseenly x▁y"):
        ids = subwords.encode(text)
        np.testing.assert_array_equal(change(ids, uniform(0)), ids)


def test_other_pieces_spell_the_same_text(subwords):
    change, ids = BPEDropout(0.4).change(subwords), subwords.encode(TEXT)
    found = [change(ids, uniform(k)) for k in range(8)]
    assert len({tuple(each) for each in found}) == 8
    for each in found:
        assert subwords.decode(each) == TEXT and len(each) > len(ids)


@pytest.mark.parametrize(
    ("word", "ways"),
    [
        ("aba", (("ab", "a"), ("a", "ba"), ("a", "b", "a"))),
        ("bab", (("b", "ab"), ("ba", "b"), ("b", "a", "b"))),
    ],
)
def test_each_step_leaves_out_each_merge_at_the_rate(word, ways):
    """Of ab, the better one, and ba: the ways and their chances can be counted."""
    scores = {"a": 0.0, "b": 0.0, "ab": -1.0, "ba": -2.0}
    found = Counter()
    for k in range(4000):
        lots = iter(uniform(k)(64).tolist())
        found[tuple(merged(word, scores, 0.4, lots))] += 1
    wanted = dict(zip(ways, (0.6, 0.4 * 0.6, 0.4**2), strict=True))
    assert found.keys() == wanted.keys()
    for way, chance in wanted.items():
        assert found[way] / 4000 == pytest.approx(chance, abs=0.025)


def test_rows_that_grow_are_cut_to_their_length(folder):
    made = rated(
        folder, (BPEDropout(0.6),), tokenizer=Subwords(size=300), lengths=(16, 24)
    )
    end = made.tokenizer.end_id
    for _, _, row in rows_of(made.order(0, 8), 1):
        ids = row["inputs"][row["segments"] > 0]
        assert (ids == end).sum() == 2 and ids[-1] == end
        assert len(row["inputs"]) in (16, 24)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Mask(1.0), r"data.augment: Mask.rate=1.0: give a number, 0 or more"),
        (lambda: Delete(-0.1), "Delete.rate=-0.1"),
        (lambda: Swap(float("nan")), "Swap.rate=nan"),
        (lambda: Labelled(augment=(Mask(0.1), Mask(0.2))), "has Mask more than once"),
        (
            lambda: Rated(augment=(BPEDropout(),)),
            r"data.tokenizer=Words\(.* has none. Use Subwords\(kind='bpe'\)",
        ),
        (
            lambda: Labelled(
                tokenizer=Subwords(kind="unigram"), augment=(BPEDropout(),)
            ),
            "has none. Use Subwords",
        ),
    ],
)
def test_what_cannot_be_augmented_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def test_a_model_that_counts_reads_texts_as_they_are():
    with pytest.raises(UserError, match="data.augment changes texts anew in each"):
        CountExperiment(Labelled(augment=(Mask(0.1),)), NaiveBayes(1))
