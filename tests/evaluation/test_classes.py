"""Scores of classes are their definitions, scikit-learn's where it is installed."""

import math

import numpy as np
import pytest

from lm_jax.errors import UserError
from lm_jax.evaluation.classes import (
    calibration_error,
    confusion,
    macro_f1,
    matthews,
)
from lm_jax.evaluation.predictions import Predictions, gathered, write_predictions

EXPECTED = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 2])


def test_rows_are_what_is_expected_and_columns_what_is_predicted():
    counts = confusion(EXPECTED, PREDICTED, 4)
    wanted = [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(counts, wanted)
    twice = confusion(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    np.testing.assert_array_equal(twice, [[0, 2], [0, 1]])


def test_macro_f1_is_the_mean_over_classes_that_are_there():
    # F1 is 2/3, 1/2 and 1; the fourth class is neither there nor predicted.
    counts = confusion(EXPECTED, PREDICTED, 4)
    assert macro_f1(counts) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    never = confusion(np.array([0, 1]), np.array([0, 0]), 2)
    assert macro_f1(never) == pytest.approx((2 / 3 + 0) / 2)


def test_matthews_is_the_correlation_of_two_classes():
    expected, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    found = matthews(confusion(expected, predicted, 2))
    assert found == pytest.approx(np.corrcoef(expected, predicted)[0, 1])
    # sum over classes of covariances, by one-hot columns (Gorodkin 2004, eq. 8).
    x, y = np.eye(3)[PREDICTED], np.eye(3)[EXPECTED]

    def covariance(a, b):
        return ((a - a.mean(0)) * (b - b.mean(0))).sum()

    wanted = covariance(x, y) / math.sqrt(covariance(x, x) * covariance(y, y))
    assert matthews(confusion(EXPECTED, PREDICTED, 3)) == pytest.approx(wanted)
    assert matthews(confusion(np.array([0, 1]), np.array([0, 0]), 2)) == 0.0


def test_the_calibration_error_is_the_weighed_gap_of_bins():
    sure = np.array([0.95, 0.85, 0.55, 0.5, 0.65])
    found = np.log(np.stack([sure, 1 - sure], axis=1))
    expected = np.array([0, 1, 0, 0, 1])
    # Bins of a half: (0, .5] holds 0.5, told rightly, and (.5, 1] the other four.
    wanted = 0.2 * abs(1 - 0.5) + 0.8 * abs(0.5 - np.mean([0.95, 0.85, 0.55, 0.65]))
    assert calibration_error(expected, found, 2) == pytest.approx(wanted)
    one = abs(0.6 - sure.mean())
    assert calibration_error(expected, found, 1) == pytest.approx(one)


def test_scores_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    for classes in (2, 3, 6):
        expected, predicted = random.integers(0, classes, (2, 40))
        counts = confusion(expected, predicted, classes)
        f1 = metrics.f1_score(expected, predicted, average="macro")
        assert macro_f1(counts) == pytest.approx(f1)
        wanted = metrics.matthews_corrcoef(expected, predicted)
        assert matthews(counts) == pytest.approx(wanted)
        wanted = metrics.confusion_matrix(expected, predicted, labels=range(classes))
        np.testing.assert_array_equal(counts, wanted)


def parts(*texts):
    logs = np.log([[0.9, 0.1], [0.3, 0.7]])
    for some in texts:
        numbers = np.array(some)
        yield numbers, numbers % 2, logs[numbers % 2]


def test_what_is_gathered_stands_in_the_order_of_the_texts():
    found = gathered(parts([3, 0], [1, 2]), ("a", "b"))
    np.testing.assert_array_equal(found.expected, [0, 1, 0, 1])
    np.testing.assert_array_equal(found.found.argmax(1), [0, 1, 0, 1])
    for lost in (([0], [2]), ([0, 1], [1])):
        with pytest.raises(AssertionError):
            gathered(parts(*lost), ("a", "b"))


def test_predictions_are_a_line_for_each_text(tmp_path):
    found = gathered(parts([0, 1]), ("no", "yes"))
    write_predictions(tmp_path / "p.tsv", found)
    lines = (tmp_path / "p.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["text", "label", "predicted", "probability"]
    assert lines[1].split("\t") == ["1", "no", "no", "0.9"]
    assert lines[2].split("\t") == ["2", "yes", "yes", "0.7"]
    numbers = Predictions(np.array([1.5]), np.array([[2.0]]))
    write_predictions(tmp_path / "p.jsonl", numbers)
    said = (tmp_path / "p.jsonl").read_text()
    assert said == '{"text": 1, "value": 1.5, "predicted": 2.0}\n'
    with pytest.raises(UserError, match=r"name the file .*p\.jsonl"):
        write_predictions(tmp_path / "p.csv", found)
