"""What each item of a split was scored, kept in its run for comparisons item by item.

`<run>/items/<split>_<step>.jsonl`: a line that says of what, then a line an item.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_jax.errors import UserError
from lm_jax.evaluation.items import Items
from lm_jax.files import atomic_write, writing
from lm_jax.runs.numbers import decoded, encoded


class Kept(NamedTuple):
    """Items, and what they were read as.

    Attributes:
        items: in the order of their numbers.
        text: the digest of the text that they are of.
        policy: what is seen before a token that is scored.
    """

    items: Items
    text: str
    policy: str


def _path(run: Path, split: str, step: int) -> Path:
    return run / "items" / f"{split}_{step}.jsonl"


def keep_items(
    run: Path, items: Items, *, split: str, step: int, text: str, policy: str
) -> Path:
    """Write items whole, in place of what was there of this split and step.

    Args:
        run: its directory.
        items: of it.
        split: of its own text.
        step: of the parameters.
        text: the digest of the text.
        policy: what is seen before a token that is scored.

    Returns:
        The file.

    Raises:
        UserError: where it cannot be written.
    """

    def lines() -> Iterator[dict[str, Any]]:
        yield {"split": split, "step": step, "text": text, "policy": policy}
        for k in np.argsort(items.numbers, kind="stable"):
            sums = {name: float(found[k]) for name, found in items.sums.items()}
            yield {
                "item": int(items.numbers[k]),
                "weight": float(items.weight[k]),
            } | sums

    path = _path(run, split, step)
    with writing(path.parent):
        path.parent.mkdir(exist_ok=True)
    written = (json.dumps(encoded(line), allow_nan=False) + "\n" for line in lines())
    atomic_write(path, "".join(written))
    return path


def read_items(run: Path, split: str, step: int) -> Kept | None:
    """What `keep_items` wrote; None where it hasn't.

    Raises:
        UserError: the file can't be read.
    """
    path = _path(run, split, step)
    if not path.exists():
        return None
    try:
        about, *rows = map(json.loads, path.read_text("utf-8").splitlines())
        columns = {
            name: np.array([decoded(row[name]) for row in rows]) for name in rows[0]
        }
        items = Items(columns.pop("item"), columns.pop("weight"), columns)
        return Kept(items, about["text"], about["policy"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{path} can't be read: {error!r}. Move it away; `evaluate {run} --split "
            f"{split} --step {step} --items` makes it again."
        ) from error
