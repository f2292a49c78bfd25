"""metrics.jsonl and samples.txt: what a run said at each step.

Both are only ever appended to, and both can be cut back to a step, so that a
run that was stopped and goes on leaves the files of one that was never stopped.
"""

import json
import re
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import atomic_write, read_whole, reading, writing
from lm_jax.runs.numbers import decoded, encoded

DECAYED = 0.11  # of the highest rate: the last step of a decay to a tenth is below
_SAMPLE_HEADER = re.compile(rb"^--- step (\d+) ---$", re.MULTILINE)


class MetricsLog:
    """metrics.jsonl, open for appending: one JSON object a line.

    A line is with the operating system when `write` returns, so it survives
    the end of the process, however that comes. To go on after such an end, call
    `truncate_after` before the first `write`.

    Raises:
        UserError: where the file cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self._open()

    def _open(self) -> None:
        with writing(self.path):
            self._file = self.path.open("ab")

    def write(self, step: int, metrics: dict) -> None:
        """Append `{"step": step, **metrics}`.

        Args:
            metrics: numbers by name; arrays of one number are taken as numbers.

        Raises:
            UserError: if the disk is full.
        """
        row = {"step": int(step)}
        row |= {name: _encode(value) for name, value in metrics.items()}
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        with writing(self.path):
            self._file.write(line.encode("utf-8"))
            self._file.flush()

    def truncate_after(self, step: int) -> list[dict]:
        """Drop the lines after a step, and a last line that was cut short.

        To be called before going on from the checkpoint of that step. The file
        is replaced in one move; what is kept is kept byte by byte.

        Returns:
            The rows that were dropped.

        Raises:
            UserError: if a line before the last cannot be read.
        """
        whole = read_whole(self.path)
        rows = _parse(self.path, whole)
        kept = b"".join(line for line, row in rows if row["step"] <= step)
        if kept != whole:
            self._file.close()
            atomic_write(self.path, kept)
            self._open()
        return [row for _, row in rows if row["step"] > step]

    def close(self) -> None:
        """Close the file."""
        with writing(self.path):
            self._file.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl, in order, numbers exactly as written.

    A last line without its end is left out: its writer was stopped, or has not
    finished it yet.

    Raises:
        UserError: if there is no such file, or another line cannot be read.
    """
    try:
        whole = read_whole(path)
    except FileNotFoundError:
        raise UserError(f"There is no {path}: nothing was trained there yet.") from None
    return [row for _, row in _parse(path, whole)]


def decay(rows: list[dict]) -> float | None:
    """The learning rate that a run ended at over its highest; None where it had none.

    A schedule ends one step after its last, so the rate falls once more, as much as in
    the mean since its highest: a line to zero ends there, of however few steps it is.
    """
    rated = [row for row in rows if "learning_rate" in row]
    if not rated:
        return None
    last, highest = rated[-1], max(rated, key=lambda row: row["learning_rate"])
    share = last["learning_rate"] / highest["learning_rate"]
    falling = last["step"] - highest["step"]
    return max(0.0, share - (1 - share) / falling) if falling else share


def last_rows(path: Path, tail: int = 1 << 18) -> tuple[dict, dict]:
    """The last line of a metrics.jsonl, and the last with a validation score.

    Args:
        path: of the file; no file has no lines.
        tail: bytes at the end of a long file that are read first.

    Returns:
        Both rows; empty where there is none.

    Raises:
        UserError: if a line cannot be read.
    """
    if not path.exists():
        return {}, {}
    with reading(path), path.open("rb") as file:
        start = max(0, file.seek(0, 2) - tail)
        file.seek(start)
        text = file.read()
    if start:
        text = text[text.find(b"\n") + 1 :]
    rows = [row for _, row in _parse(path, text)]
    scored = [row for row in rows if any(n.startswith("validation_") for n in row)]
    if start and not scored:
        return last_rows(path, 16 * tail)
    return (rows or [{}])[-1], (scored or [{}])[-1]


def append_sample(path: Path, step: int, text: str) -> None:
    """Append a text that the model wrote at a step to samples.txt.

    Raises:
        UserError: where the file cannot be written.
    """
    body = text.rstrip("\n").encode("utf-8", "replace")
    # A model can write anything, a line that looks like a header too.
    body = _SAMPLE_HEADER.sub(lambda header: b" " + header[0], body)
    with writing(path), open(path, "ab") as file:
        file.write(b"--- step %d ---\n%s\n" % (step, body))


def read_samples(path: Path) -> list[tuple[int, str]]:
    """The texts of a samples.txt with their steps, in order; no file has none.

    Raises:
        UserError: it can't be read.
    """
    if not path.exists():
        return []
    whole = read_whole(path)
    heads = list(_SAMPLE_HEADER.finditer(whole))
    # A run that went on from before its first sample has a file without any.
    ends = [*(head.start() for head in heads[1:]), len(whole)][: len(heads)]
    return [
        (int(head[1]), whole[head.end() + 1 : end].decode("utf-8", "replace")[:-1])
        for head, end in zip(heads, ends, strict=True)
    ]


def truncate_samples(path: Path, step: int) -> None:
    """Drop the samples after a step, and what was cut short; none is no error.

    Raises:
        UserError: where the file cannot be written.
    """
    if not path.exists():
        return
    whole = read_whole(path)
    kept = whole[: whole.rfind(b"\n") + 1]
    for header in _SAMPLE_HEADER.finditer(kept):
        if int(header[1]) > step:
            kept = kept[: header.start()]
            break
    if kept != whole:
        atomic_write(path, kept)


def _encode(value: object) -> float | int | str:
    """A number for JSON; Python writes a float so that it reads back exactly."""
    number = value.item() if hasattr(value, "item") else value
    if not isinstance(number, int | float):
        raise TypeError(f"a metric is a number, not {value!r}")
    return encoded(number)


def _parse(path: Path, whole: bytes) -> list[tuple[bytes, dict]]:
    """Each whole line as it stands and as a row."""
    rows = []
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            row = {name: decoded(value) for name, value in json.loads(line).items()}
            int(row["step"])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise UserError(
                f"{path}, line {number} cannot be read: {line[:40]!r}. "
                "Mend or remove that line; nothing was changed."
            ) from None
        rows.append((line + b"\n", row))
    return rows
