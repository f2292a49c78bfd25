"""result.json: what came out of a run."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, digest
from lm_jax.files import atomic_write

# When the parameters were as they were scored.
At = Literal["end", "best"]


def about(experiment: AnyExperiment, model: Any, policy: str) -> dict:
    """What a result says of its experiment: corpus, model, published figure.

    Args:
        experiment: of the run.
        model: with all filled in.
        policy: what is seen before a token that is scored, in training's evaluations.
    """
    published = experiment.published
    return {
        "corpus": corpus_of(experiment.data),
        "model": type(model).__name__,
        "recipe": digest(experiment),
        "watch": experiment.watch,
        "policy": policy,
        "published": dataclasses.asdict(published) if published else None,
    }


def corpus_of(data: Any) -> str:
    """The name of a data value's text, or of its texts."""
    return " + ".join(part.corpus.source for part in getattr(data, "parts", (data,)))


def entries(
    found: Mapping[str, dict[str, float]],
    *,
    split: str,
    step: int,
    corpus: str,
    policy: str,
) -> list[dict]:
    """Entries of a result's "scores": numbers, and all that they depend on.

    Args:
        found: by evaluations, each by its name or in words; what gives no score is
            left out.
        split: of the corpus.
        step: of the parameters.
        corpus: the text.
        policy: what is seen before a token that is scored.
    """
    place = {"split": split, "step": step, "corpus": corpus, "policy": policy}
    return [
        {"evaluation": name, **place, "scores": scores}
        for name, scores in found.items()
        if scores
    ]


def add_scores(run: Path, made: list[dict]) -> None:
    """Append entries to the result of a run; the same again are not said twice."""
    result = read_result(run)
    new = [entry for entry in made if entry not in result["scores"]]
    if new:
        write_result(run, result | {"scores": result["scores"] + new})


def earlier_scores(run: Path) -> list[dict]:
    """The scores of a result that is to be written anew: none, if it isn't there."""
    return read_result(run)["scores"] if (run / "result.json").exists() else []


def find_scores(result: dict, split: str, at: At) -> dict:
    """What the watched evaluation found of a split, as training would have.

    Args:
        result: of a run.
        split: of its own text.
        at: the end of training, or the best checkpoint.

    Returns:
        Scores by name; none where it was not scored so.
    """
    best = result.get("best") or {}
    step = result["steps"] if at == "end" else best.get("step")
    wanted = {
        "evaluation": result["watch"],
        "split": split,
        "step": step,
        "corpus": result["corpus"],
        "policy": result["policy"],
    }
    found = [e["scores"] for e in result["scores"] if wanted.items() <= e.items()]
    return found[-1] if found else {}


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
        result = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise UserError(
            f"{path} is damaged: move it away and train again to write a new one; "
            "a run that ended only writes its result."
        ) from None
    if isinstance(result.get("validation"), dict) and "scores" not in result:
        raise UserError(
            f"{path} is of an earlier format, without a list of scores: train the run "
            "again, in another directory."
        )
    return result
