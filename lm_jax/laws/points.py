"""The runs that a law is fitted to: ended, fully decayed, all scored alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.errors import UserError
from lm_jax.experiment import leaves, read
from lm_jax.laws.law import Values
from lm_jax.runs.directory import runs_below
from lm_jax.runs.metrics import DECAYED, decay, read_metrics
from lm_jax.runs.result import ended_result, find_scores
from lm_jax.runs.trials import is_trial

_SCORE = "loss"


@dataclass(frozen=True)
class Point:
    """A run that has ended.

    Attributes:
        run: its directory.
        experiment: of it.
        result: what its result.json says.
        loss: of the whole validation split after the last step, nats a token.
        decay: the learning rate that it ended at over the highest.
    """

    run: Path
    experiment: Any
    result: dict
    loss: float
    decay: float

    @property
    def parameters(self) -> int:
        """All of them, the head's too."""
        return self.result["parameters"]

    @property
    def tokens(self) -> int:
        """That it was trained on."""
        return self.result["tokens"]

    @property
    def flops(self) -> float:
        """Of its training, by the model's own count, the head's too."""
        return self.result["flops"]


def read_points(paths: tuple[Path, ...]) -> list[Point]:
    """Read the ended runs at or below some paths, and see that they go together.

    What a sweep only tuned by is left out: its rates are not the best.

    Raises:
        UserError: there are none; one hasn't ended or decayed; two are scored
            otherwise, with the difference.
    """
    runs = [r for path in paths for r in runs_below(path) if not is_trial(r)]
    runs = list({run.resolve(): run for run in runs}.values())
    if not runs:
        named = ", ".join(map(str, paths))
        raise UserError(f"There is no run at or below {named}: give runs that ended.")
    points = [read_point(run) for run in runs]
    known = shared(points[0])
    for point in points:
        check_alike(known, str(points[0].run), point)
        check_decayed(point)
    return points


def read_point(run: Path) -> Point:
    """Read a run.

    Raises:
        UserError: it hasn't ended, or lacks what is needed.
    """
    result, experiment = ended_result(run), read(run)
    score = find_scores(result, "validation", "end").get(_SCORE)
    if score is None or not np.isfinite(score):
        raise UserError(f"{run} has no finite validation loss of its last step.")
    if "flops" not in result:
        raise UserError(
            f"{run}: its result.json says no FLOPs; an earlier version of lm_jax wrote "
            "it. Train the run again, in another directory."
        )
    share = decay(read_metrics(run / "metrics.jsonl"))
    if share is None:
        raise UserError(f"{run / 'metrics.jsonl'} has no learning rates.")
    return Point(run, experiment, result, float(score), share)


def check_decayed(point: Point) -> None:
    """Refuse a run that ended with a high learning rate.

    A loss in the middle of a schedule is above what so many tokens can give: runs of
    another length than their schedule's misled earlier laws (Hoffmann et al. 2022, 2).

    Raises:
        UserError: naming it.
    """
    if point.decay > DECAYED:
        raise UserError(
            f"{point.run} has not decayed: it ended with {point.decay:.2g} of its "
            "highest learning rate, and a tenth is the most. Each run needs a schedule "
            "that ends with its budget, such as WarmupCosine(final=...)."
        )


def shared(point: Point) -> dict[str, str]:
    """What runs must have in common for their losses to be of one thing, by name.

    Width, depth, schedule, optimizer, batch and budget may differ; text, tokenizer,
    context, objective, evaluation, initial values from elsewhere and the kind of model
    may not.
    """
    watched = f"evaluations.{point.experiment.watch}"
    fields = ("data", "objective", "watch", "initial", "frozen", "adapter", watched)
    found = {
        "text": str(point.result.get("text")),
        "kind of model": str(point.result.get("model")),
        "what is seen before each token": str(point.result.get("policy")),
    }
    for leaf in leaves(point.experiment):
        if leaf.part == "recipe" and leaf.name.startswith(fields):
            found[leaf.name] = leaf.text
    found.pop(f"{watched}.every", None)
    return found


def check_alike(known: dict[str, str], what: str, point: Point) -> None:
    """Refuse a run whose loss is of something else.

    Args:
        known: what others have in common, of `shared`.
        what: they are, for the message.
        point: the run.

    Raises:
        UserError: with the first difference.
    """
    found = shared(point)
    for name in known | found:
        a, b = known.get(name), found.get(name)
        if a != b:
            raise UserError(
                f"{point.run} can't be compared with {what}: {name} is {b} here, and "
                f"{a} there. Their losses are of other things: give the runs of one."
            )


def arrays(points: list[Point]) -> tuple[Values, Values, Values]:
    """Parameters, tokens and losses of some runs, each (runs,)."""
    rows = [(point.parameters, point.tokens, point.loss) for point in points]
    parameters, tokens, losses = np.array(rows, np.float64).T
    return parameters, tokens, losses
