"""A prediction of a run's loss: written before the run, and kept beside its result."""

import json
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from lm_jax.errors import UserError
from lm_jax.experiment import digest
from lm_jax.files import exclusive_write, writing
from lm_jax.laws.bootstrap import LEVEL, Bootstrap
from lm_jax.laws.points import Point, check_alike, check_decayed, read_point, shared
from lm_jax.runs.code import own_code, read_starts

NAME = "prediction.json"
_FORMAT = 1
_NEAR = 0.02  # how far parameters and tokens may be from what was predicted for


def predicted(
    found: Bootstrap, points: list[Point], parameters: float, tokens: float
) -> dict[str, Any]:
    """Predict the loss of a run that need not exist.

    Args:
        found: a law and its resamples.
        points: the runs that it was fitted to.
        parameters, tokens: of the run.

    Returns:
        Loss and interval, and all that they rest on: law, runs, code, date.
    """
    low, high = found.loss(parameters, tokens)
    return {
        "format": _FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": own_code(),
        "parameters": parameters,
        "tokens": tokens,
        "loss": found.law.loss(parameters, tokens),
        "interval": [low, high],
        "level": LEVEL,
        "law": vars(found.law),
        "shared": shared(points[0]),
        "runs": [_named(point) for point in points],
    }


def _named(point: Point) -> dict[str, Any]:
    """A run, by what it is and not by where it lies."""
    return {
        "recipe": digest(point.experiment),
        "seed": point.experiment.seed,
        "parameters": point.parameters,
        "tokens": point.tokens,
        "loss": point.loss,
    }


def keep(prediction: dict[str, Any], path: Path) -> None:
    """Write a prediction where there is none.

    Raises:
        UserError: one is there: it is never changed; or it can't be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(prediction, indent=1, ensure_ascii=False) + "\n"
    if not exclusive_write(path, text):
        _refuse(path)


def check_free(path: Path) -> None:
    """See that there is no prediction of a name yet.

    Raises:
        UserError: there is, and of what, or another file.
    """
    if path.exists():
        _refuse(path)


def _refuse(path: Path) -> NoReturn:
    try:
        there = f" ({_named_shortly(read_prediction(path))})"
    except UserError:
        there = ""
    raise UserError(
        f"{path} is there{there}, and a prediction is kept as it was made: give "
        "another name (--to)."
    )


def _named_shortly(prediction: dict[str, Any]) -> str:
    """What a prediction says, and when it was made."""
    return (
        f"{prediction['loss']:.4f} for {prediction['parameters']:,.0f} parameters on "
        f"{prediction['tokens']:,.0f} tokens, made {prediction['made']}"
    )


def read_prediction(path: Path) -> dict[str, Any]:
    """What `keep` wrote.

    Raises:
        UserError: it can't be read, or is none.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["format"] == _FORMAT and found["interval"]:
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(
        f"{path} is no prediction that `laws --predict` of this format made."
    )


def check(path: Path, run: Path) -> list[str]:
    """Compare a prediction with the run that it is of, and keep it in the run.

    Returns:
        What was predicted, what was found, whether that lies within.

    Raises:
        UserError: the run is another than it was made for, or one that it was made of.
    """
    prediction, point = read_prediction(path), read_point(run)
    check_alike(prediction["shared"], "what was predicted", point)
    check_decayed(point)
    for name in ("parameters", "tokens"):
        here, there = getattr(point, name), prediction[name]
        if abs(here - there) > _NEAR * there:
            raise UserError(
                f"{run} is not what was predicted: it has {here:,.0f} {name}, and the "
                f"prediction is for {there:,.0f}."
            )
    if _named(point) in prediction["runs"]:
        raise UserError(
            f"{run} is one of the runs that the prediction was made of: it says "
            "nothing about it."
        )
    kept = textwrap.wrap(
        _kept(prediction, run / NAME),
        80,
        subsequent_indent=" " * 11,
        break_on_hyphens=False,
    )
    return [*_compared(prediction, point), *kept]


def _kept(prediction: dict[str, Any], path: Path) -> str:
    """Keep a prediction beside its run's result, and say so; an earlier one stays."""
    if not path.exists():
        keep(prediction, path)
    try:
        there = read_prediction(path)
    except UserError as error:
        return f"not kept   {error}"
    if there == prediction:
        return f"kept       in {path}"
    return f"not kept   {path} has an earlier one: {_named_shortly(there)}"


def _compared(prediction: dict[str, Any], point: Point) -> list[str]:
    low, high = prediction["interval"]
    began = [start.get("started") for start in read_starts(point.run)][:1]
    when = "when the run began is not known"
    if began and began[0]:
        before = prediction["made"] <= began[0]
        when = "before the run began" if before else "AFTER the run began"
    verdict = "within the interval"
    if not low <= point.loss <= high:
        side, by = ("below", low) if point.loss < low else ("above", high)
        verdict = f"{side} the interval by {abs(point.loss - by):.4f}"
    level = f"{100 * prediction['level']:g}% interval"
    return [
        f"predicted  {prediction['loss']:.4f}, {level} {low:.4f} to {high:.4f}",
        f"           made {prediction['made']}, {when}",
        f"found      {point.loss:.4f}, {verdict}",
    ]
