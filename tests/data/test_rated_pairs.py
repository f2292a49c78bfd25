"""Texts of rated pairs are rows of their own, each as it is read alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lm_jax.data import RatedPairs, giving
from lm_jax.data.examples import read_whole
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Pretrained, Words, save_tokenizer
from tests.data.test_pairs import write_pairs
from tests.exchange.made import write_bert_tokenizer


@pytest.fixture
def pairs(tmp_path):
    write_pairs(tmp_path / "pairs.jsonl")
    return tmp_path / "pairs.jsonl"


def rated(path, lengths=(4, 12), scale=(0.0, 2.0), **fields):
    corpus = Corpus(str(path), column="one", test=0.1)
    more = {"tokenizer": Words()} | fields
    return RatedPairs(
        corpus, value="how", scale=scale, lengths=lengths, pair="two", **more
    )


@pytest.mark.parametrize("kind", ["words", "bert"])
def test_each_text_is_read_as_it_is_alone(kind, pairs, tmp_path):
    """With [CLS] before the second text too, which `Rated` has not."""
    tokenizer = Words()
    if kind == "bert":
        (tmp_path / "bert").mkdir()
        write_bert_tokenizer(tmp_path / "bert")
        tokenizer = Pretrained(str(tmp_path / "bert"))
    made = rated(pairs, (8, 64), tokenizer=tokenizer).prepare(tmp_path / "cache")
    texts = {}
    for line in pairs.read_text().splitlines():
        row = json.loads(line)
        ids = [made.tokenizer.encode(row[name]) for name in ("one", "two")]
        wanted = [tuple(read_whole(made.tokenizer, i)) for i in ids]
        texts.setdefault(tuple(wanted), set()).add(row["how"] / 2)
    seen, around = 0, made.tokenizer.around
    for split in made.splits:
        windows = made.evaluation(split, 4)
        for k in range(len(windows)):
            batch, numbers = windows[k], windows.numbers(k)
            for place in range(len(numbers)):
                found = tuple(
                    tuple(ids[real > 0])
                    for ids, real in (
                        (batch[f"{n}_inputs"][place], batch[f"{n}_segments"][place])
                        for n in ("first", "second")
                    )
                )
                assert float(batch["value"][place]) in texts[found]
                assert all(ids[-1] == made.tokenizer.end_id for ids in found)
                if kind == "bert":
                    assert all(ids[0] == around.first[0] for ids in found)
                seen += 1
    assert seen == 60
    said = "Ratings of the training split: 0 to 1.5; 0 is a cosine of 0, 2 of 1."
    assert said in made.statement


def test_rows_are_as_long_as_the_longer_text_and_tokens_are_of_both(pairs, tmp_path):
    made = rated(pairs, (3, 4)).prepare(tmp_path / "cache")
    total, sizes = 0, []
    for step in range(int(made.order(0, 8).steps_per_epoch)):
        batch = made.order(0, 8).batch(step)
        real = [batch[f"{n}_segments"] for n in ("first", "second")]
        total += sum(int(each.sum()) for each in real)
        rows = batch["mask"] > 0
        longer = np.maximum(*(each.sum(1) for each in real))[rows]
        assert (longer <= real[0].shape[1]).all()
        if real[0].shape[1] == 4:
            assert (longer == 4).all()
        ends = [
            batch[f"{n}_inputs"][rows][
                each[rows].cumsum(1) == each[rows].sum(1)[:, None]
            ]
            for n, each in zip(("first", "second"), real, strict=True)
        ]
        assert made.tokenizer.end_id in ends[0] and made.tokenizer.end_id in ends[1]
        sizes.append(real[0].shape[1])
    assert set(sizes) == {3, 4} and made.buckets.tokens == total
    assert "texts are cut to 4 tokens: " in made.statement


def test_examples_have_the_fields_that_are_published(pairs, tmp_path):
    data = rated(pairs)
    made = data.prepare(tmp_path / "cache")
    batch = made.order(0, 4).batch(0)
    assert {f.name for f in made.fields} == set(batch) == set(data.gives)
    for field in made.fields:
        assert batch[field.name].dtype == field.dtype
    assert giving("first_inputs") == ["RatedPairs"]


def test_a_limit_draws_rows_and_another_scale_is_other_data(pairs, tmp_path):
    cache = tmp_path / "cache"
    whole, few = rated(pairs).prepare(cache), rated(pairs, limit=5).prepare(cache)
    assert sum(map(len, few.buckets.members)) == 5
    other = rated(pairs, scale=(0.0, 4.0)).prepare(cache)
    assert len({whole.digest, few.digest, other.digest}) == 3
    # The text is the same, whatever a cosine of 1 is: scores can be compared.
    assert other.text == whole.text


def test_what_can_not_be_is_refused(pairs, tmp_path):
    cache = tmp_path / "cache"
    for scale in ((0.0, 0.0), (1.0, 0.0), (0.0, float("inf"))):
        with pytest.raises(UserError, match="data.scale=.*the higher one"):
            rated(pairs, scale=scale)
    for data, said in (
        (rated(pairs, scale=(0.0, 1.0)), "is rated 1.5, and data.scale=\\(0.0, 1.0\\)"),
        (rated(pairs, lengths=(1,)), "1 tokens of a text stand around it.*Give 2"),
        (replace(rated(pairs), pair=""), "has no pairs of texts.*data.pair"),
    ):
        with pytest.raises(UserError, match=said):
            data.prepare(cache)
    save_tokenizer(Words().train(["a b"]), tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match="need a token between them"):
        rated(pairs, tokenizer=Kept(str(tmp_path))).prepare(cache)
