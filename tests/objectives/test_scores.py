"""Bits per byte are the length of a code of the text, over all of its bytes."""

import math

import pytest

from lm_jax.data import Coded
from lm_jax.objectives.scores import likelihood


def test_bits_per_byte_are_all_nats_and_the_spelling_over_all_bytes():
    scores = likelihood(10 * math.log(2.0), 5, Coded(read=22, bytes=20, spelling=30))
    assert scores["bits_per_byte"] == pytest.approx((10 + 30) / 20)
    assert scores["spelling_bits_per_byte"] == pytest.approx(30 / 20)
    assert scores["loss"] == pytest.approx(2 * math.log(2.0))


def test_what_is_not_there_is_not_said():
    plain = likelihood(1.0, 5, Coded(read=20, bytes=20))
    assert "spelling_bits_per_byte" not in plain
    assert "bits_per_byte" not in likelihood(1.0, 5, Coded())
