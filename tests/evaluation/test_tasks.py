"""Each task has its share of right answers, and all count alike in the mean."""

import numpy as np
import pytest

from lm_jax.evaluation import Predictions
from lm_jax.evaluation.tasks import by_task
from lm_jax.tokenizers import Words


def test_tasks_count_alike_and_what_is_unknown_is_never_right():
    words = Words().train(["a b c"], end=True)
    a, b, _ = words.encode("a b c").tolist()
    unknown = words.unknown_id
    told = Predictions(
        np.array([[0, a, b, 0], [a, 0, unknown, 0]]),
        np.array([[-1.0, a, a, -1], [a, -1, unknown, -1]]),
    )
    found = by_task(told, [["qa2", "qa10"], ["qa10", "qa10"]], words)
    assert found.scores == pytest.approx(
        {
            "accuracy": (1 + 1 / 3) / 2,
            "error": 1 - (1 + 1 / 3) / 2,
            "passed": 1.0,
            "qa2": 1.0,
            "qa10": 1 / 3,
        }
    )
    assert list(found.scores)[-2:] == ["qa2", "qa10"]
    assert found.lines[1] == {"task": "qa10", "answer": "b", "predicted": "a"}
