"""What a model says of each example, and the file that it is written to."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from lm_jax.errors import UserError
from lm_jax.files import atomic_write


class Predictions(NamedTuple):
    """What is expected and what was found, of each text of a split in its order.

    Attributes:
        expected: number of the class, or the number itself.
        found: log-probability of each class, or the number itself.
        names: of the classes; none where numbers are told.
    """

    expected: Shaped[np.ndarray, " texts"]
    found: Float[np.ndarray, "texts outputs"]
    names: tuple[str, ...] = ()


def gathered(
    parts: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]], names: tuple[str, ...]
) -> Predictions:
    """Put what was found in parts into the order of the texts.

    Args:
        parts: (numbers of the texts, what is expected, what was found).
        names: as of `Predictions`.
    """
    columns = zip(*parts, strict=True)
    texts, expected, found = map(_joined, columns)
    order = np.argsort(texts)
    if not np.array_equal(texts[order], np.arange(len(texts))):
        raise AssertionError("Each text of the split is to be scored once.")
    return Predictions(expected[order], found[order].astype(np.float64), names)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Put arrays under each other; rows of words are filled up by -1."""
    if arrays[0].ndim < 2:
        return np.concatenate(arrays)
    widest = max(array.shape[1] for array in arrays)
    return np.concatenate(
        [
            np.pad(a, ((0, 0), (0, widest - a.shape[1])), constant_values=-1)
            for a in arrays
        ]
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a line for each text, whole or not at all.

    A line has the text's number in its split, from 1; of classes "label", "predicted"
    and the "probability" of what is predicted; of numbers "value" and "predicted".

    Args:
        path: ends in .jsonl or .tsv.
        predictions: of a split.

    Raises:
        UserError: it has another ending, or can't be written.
    """
    write_lines(path, list(_rows(predictions)))


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a line for each example, whole or not at all.

    Args:
        path: ends in .jsonl or .tsv.
        rows: of one form; in .tsv, what is no text or number is written as JSON, and
            so is a text with a tab or a line end.

    Raises:
        UserError: it has another ending, or can't be written.
    """
    check_name(path)
    if path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    else:
        lines = ["\t".join(rows[0])]
        lines += ["\t".join(map(_told, row.values())) for row in rows]
    atomic_write(path, "".join(f"{line}\n" for line in lines))


def _told(value: Any) -> str:
    plain = isinstance(value, str) and value.isprintable()
    if plain or isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def check_name(path: Path) -> None:
    """Refuse a file of predictions that has no known ending.

    Raises:
        UserError: naming what it may be.
    """
    if path.suffix not in (".jsonl", ".tsv"):
        raise UserError(
            f"Predictions are written as .jsonl or .tsv: name the file "
            f"{path.with_suffix('.jsonl')}."
        )


def _rows(predictions: Predictions) -> Iterator[dict[str, int | float | str]]:
    expected, found, names = predictions
    for number, (wanted, said) in enumerate(zip(expected, found, strict=True), 1):
        if not names:
            values = {"value": float(wanted), "predicted": float(said[0])}
            yield {"text": number, **values}
            continue
        best = int(said.argmax())
        yield {
            "text": number,
            "label": names[wanted],
            "predicted": names[best],
            "probability": round(float(np.exp(said[best])), 6),
        }
