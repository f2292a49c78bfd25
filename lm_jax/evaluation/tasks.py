"""How many questions of each task are answered rightly."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.evaluation.predictions import Predictions
from lm_jax.tokenizers import Trained

# Below it a task is failed (Weston et al. 2015, 5).
PASSED = 0.95


@dataclass(frozen=True)
class TaskAccuracy:
    """The share of right answers of each task, and the mean of the tasks.

    An answer is right as a whole or not at all; one that training never had is never
    right. "error" is 1 less the mean, and "passed" counts tasks of 95% or more.

    Attributes:
        every: how often; None is whenever the watched evaluation is made.
    """

    every: str | None = None

    watched: ClassVar[str] = "accuracy"
    larger_is_better: ClassVar[bool] = True

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split, each question once.

        Raises:
            UserError: when it is of no tasks.
        """
        if split not in fitted.data.kinds:
            raise UserError(_NO_TASKS)
        found = fitted.predictions(split, progress)
        return by_task(found, fitted.data.kinds[split], fitted.data.tokenizer)

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.tells != "targets":
            yield _NO_TASKS


_NO_TASKS = (
    "TaskAccuracy is of questions of tasks: train by AnswerQuestions() on Stories."
)


def by_task(
    predictions: Predictions, kinds: Sequence[Sequence[str]], tokenizer: Trained
) -> Found:
    """Score the answers to each task.

    Args:
        predictions: of each row the tokens that are expected and found; -1 is found
            where nothing is asked.
        kinds: of each row, the task of each question in it.
        tokenizer: of the tokens.
    """
    unknown, right, lines = tokenizer.unknown_id, defaultdict(list), []
    for tasks, wanted, told in zip(
        kinds, predictions.expected, predictions.found.astype(int), strict=True
    ):
        asked = told >= 0
        answers = zip(tasks, wanted[asked], told[asked], strict=True)
        for task, answer, said in answers:
            right[task].append(bool(answer == said) and answer != unknown)
            given, predicted = tokenizer.symbols([answer, said])
            lines.append({"task": task, "answer": given, "predicted": predicted})
    order = sorted(right, key=lambda task: (len(task), task))
    each = {task: float(np.mean(right[task])) for task in order}
    mean = float(np.mean(list(each.values())))
    passed = float(sum(share >= PASSED for share in each.values()))
    scores = {"accuracy": mean, "error": 1 - mean, "passed": passed, **each}
    return Found(scores, lines=tuple(lines))
