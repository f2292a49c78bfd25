"""Bits per byte are the length of a code of the text, over all of its bytes."""

import math
from pathlib import Path

import pytest

from lm_jax.data import CarriedStream, Coded, Mixture, PackedDocuments, TokenStream
from lm_jax.objectives.scores import likelihood
from lm_jax.text import Corpus


def test_bits_per_byte_are_all_nats_and_the_spelling_over_all_bytes():
    scores = likelihood(10 * math.log(2.0), 5, Coded(read=22, bytes=20, spelling=30))
    assert scores["bits_per_byte"] == pytest.approx((10 + 30) / 20)
    assert scores["spelling_bits_per_byte"] == pytest.approx(30 / 20)
    assert scores["loss"] == pytest.approx(2 * math.log(2.0))


def test_what_is_not_there_is_not_said():
    plain = likelihood(1.0, 5, Coded(read=20, bytes=20))
    assert "spelling_bits_per_byte" not in plain
    assert "bits_per_byte" not in likelihood(1.0, 5, Coded())


SHORT = Corpus("short.txt", validation=0.5)
STREAM = TokenStream(SHORT, context=8)


@pytest.mark.parametrize(
    "data",
    [
        STREAM,
        TokenStream(SHORT, context=8, stride=3),
        CarriedStream(SHORT, context=4, evaluation_lanes=3),
        PackedDocuments(SHORT, context=8),
        Mixture((STREAM, TokenStream(Corpus("other.txt"), context=8)), (1.0, 1.0)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_a_model_that_knows_nothing_codes_every_token_as_one_of_the_vocabulary(
    data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("a line of a short text\n" * 5)
    Path("other.txt").write_text("one more" * 20)
    made = data.prepare(Path("cache"))
    windows, tokens = made.evaluation("validation", 3), made.splits["validation"]
    predicted = int(sum(windows[k]["mask"].sum() for k in range(len(windows))))
    assert predicted < len(tokens.ids)
    nats = predicted * math.log(made.vocab_size)
    bits = len(tokens.ids) * math.log2(made.vocab_size)
    found = likelihood(nats, predicted, tokens.coded)["bits_per_byte"]
    assert found == pytest.approx(bits / tokens.coded.bytes)
