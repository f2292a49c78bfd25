"""Span corruption: source and target together are the text."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.data import rows
from lm_jax.data.randomness import uniform
from lm_jax.data.spans import SpanCorruption, corrupt, divide, parts
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

# Each character of a half tells its place.
TEXT = "".join(chr(0x100 + i) for i in range(300)) * 2


def restored(source, target, sentinel):
    """Put what the target says where the source has a sentinel."""
    spans, text = {}, []
    for token in target:
        if token >= sentinel:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    for token in source:
        text += spans[token] if token >= sentinel else [token]
    return text


def prepared(tmp_path, **fields):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    corpus = Corpus(str(path), validation=0.5)
    fields = {"tokenizer": Characters(), "context": 32} | fields
    return SpanCorruption(corpus, **fields).prepare(tmp_path)


@settings(max_examples=100)
@given(
    tokens=st.integers(1, 120),
    rate=st.floats(0.01, 0.9),
    span=st.floats(1.0, 9.0),
    seed=st.integers(0, 99),
)
def test_source_and_target_give_the_text(tokens, rate, span, seed):
    lengths, text = divide(tokens, rate, span), np.arange(tokens, dtype=np.uint16)
    source, target = corrupt(text, lengths, 1000, uniform(seed))
    assert restored(source, target, 1000) == text.tolist()
    assert (len(source), len(target)) == (lengths.source, lengths.target)
    assert (target < 1000).sum() == lengths.hidden
    sentinels = list(range(1000, 1000 + lengths.spans))
    assert source[source >= 1000].tolist() == sentinels
    assert target[target >= 1000].tolist() == [*sentinels, 1000 + lengths.spans]
    assert target[0] == 1000 and target[-1] == 1000 + lengths.spans
    # No span is empty, and none touches the next.
    for ids in (source, target):
        assert not ((ids[1:] >= 1000) & (ids[:-1] >= 1000)).any()


def test_lengths_are_those_of_t5():
    # 568 tokens are T5's 512 of source and 114 of target, each with an end where
    # we have a last sentinel in the target (Raffel et al. 2020, 3.1.4; its code).
    assert divide(568, 0.15, 3.0) == (85, 28, 511, 114)
    assert divide(114, 0.15, 3.0) == (17, 6, 103, 24)


def test_parts_are_as_likely_one_way_as_another():
    found = Counter(tuple(parts(5, 3, uniform(i)).tolist()) for i in range(1200))
    assert len(found) == 6
    assert all(sum(way) == 5 for way in found)
    assert min(found.values()) > 150 and max(found.values()) < 250


def test_every_place_but_the_edges_is_hidden_as_often():
    text, lengths = np.arange(40), divide(40, 0.3, 3.0)
    targets = [corrupt(text, lengths, 40, uniform(i))[1] for i in range(500)]
    shares = np.mean([np.isin(text, target) for target in targets], axis=0)
    assert shares[0] == 0 and shares[-1] == 1
    assert shares[6:-6] == pytest.approx(0.3, abs=0.1)


def test_rows_have_one_shape_and_the_target_shifted(tmp_path):
    data = prepared(tmp_path)
    batch = rows(data.train(0, 1), 0, 100)
    lengths = divide(32, 0.15, 3.0)
    assert batch["source"].shape == (100, lengths.source)
    for name in ("decoder_inputs", "targets", "mask"):
        assert batch[name].shape == (100, lengths.target)
    assert (batch["decoder_inputs"][:, 1:] == batch["targets"][:, :-1]).all()
    assert (batch["decoder_inputs"][:, 0] == data.tokenizer.id_of("<start>")).all()
    assert data.vocab_size == 300 + 1 + lengths.spans + 1
    assert batch["targets"].max() == data.vocab_size - 1
    assert batch["mask"].all()


def test_rows_are_a_function_of_the_seed_and_their_number(tmp_path):
    data, again = prepared(tmp_path), prepared(tmp_path)
    last = rows(data.train(0, 4), 9, 4)
    whole = rows(again.train(0, 40), 0, 40)
    other = rows(data.train(1, 4), 9, 4)
    for name, array in last.items():
        assert (array == whole[name][36:]).all()
    assert (last["source"] != other["source"]).any()
    count = data.examples(1)
    spans = [data.train(0, 1)[i]["targets"].tobytes() for i in range(4 * count)]
    assert len(set(spans)) == len(spans)


@settings(max_examples=8)
@given(context=st.integers(7, 60), batch=st.integers(1, 5))
def test_an_evaluation_has_every_token_once(tmp_path_factory, context, batch):
    folder = tmp_path_factory.mktemp("spans")
    data = prepared(folder, context=context, rate=0.3, span=2.0)
    first, start = map(data.tokenizer.id_of, ("<span_0>", "<start>"))
    windows, text = data.evaluation("validation", batch), []
    fixed = data.evaluation("validation", 1)
    for index in range(len(windows)):
        found = windows[index]
        for row in range(batch):
            source = found["source"][row][found["source_mask"][row]]
            real = found["mask"][row] > 0
            target = found["targets"][row][real]
            text += restored(source, target, first)
            if real.any():
                assert found["decoder_inputs"][row][0] == start
                alone = fixed[index * batch + row]
                assert (alone["source"][0] == found["source"][row]).all()
    assert text == data.splits["validation"].ids.tolist()


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"rate": 0.0}, "data.rate=0.0"),
        ({"rate": 1.5}, "less than 1"),
        ({"span": 0.5}, "data.span=0.5"),
        ({"span": float("nan")}, "data.span=nan"),
        ({"context": 10}, "Use --data.context 20 or more"),
        ({"rate": 0.7, "span": 1.0}, "longer than data.context=128"),
        ({"context": -1}, "context=-1"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, said):
    with pytest.raises(UserError, match=said):
        SpanCorruption(**fields)
