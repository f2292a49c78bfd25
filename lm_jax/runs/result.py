"""result.json: what came out of a run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, digest
from lm_jax.files import atomic_write


def about(experiment: AnyExperiment, model: Any) -> dict:
    """What a result says of its experiment: corpus, model, published figure."""
    published = experiment.published
    data: Any = experiment.data
    corpora = getattr(data, "parts", (data,))
    return {
        "corpus": " + ".join(part.corpus.source for part in corpora),
        "model": type(model).__name__,
        "recipe": digest(experiment),
        "watch": experiment.watch,
        "published": dataclasses.asdict(published) if published else None,
    }


def record_score(run: Path, split: str, scores: dict[str, float]) -> None:
    """Add the scores of a split to a result that is there."""
    write_result(run, read_result(run) | {split: scores})


def write_result(run: Path, result: dict) -> None:
    """Write `<run>/result.json`: sorted keys, floats that read back exactly.

    Raises:
        UserError: where the file cannot be written.
    """
    text = json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False)
    atomic_write(run / "result.json", text + "\n")


def read_result(run: Path) -> dict:
    """What `write_result` wrote.

    Raises:
        UserError: if the run has no result yet, or one that cannot be read.
    """
    path = run / "result.json"
    if not path.exists():
        raise UserError(f"{run} has no result.json: its training has not ended yet.")
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        raise UserError(
            f"{path} is damaged: move it away and train again to write a new one; "
            "a run that ended only writes its result."
        ) from None
