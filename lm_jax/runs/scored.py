"""What result.json says of an experiment and of its scores."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lm_jax.evaluation import Found
from lm_jax.experiment import AnyExperiment, digest
from lm_jax.runs.code import own_code


def about(experiment: AnyExperiment, model: Any, text: str, policy: str) -> dict:
    """What a result says of its experiment: corpus, model, published figure.

    Args:
        experiment: of the run.
        model: with all filled in.
        text: digest of the corpus' content and split, by which `table` groups runs.
        policy: what is seen before a token that is scored, in training's evaluations.
    """
    published = experiment.published
    evaluation = experiment.evaluations[experiment.watch]
    return {
        "corpus": corpus_of(experiment.data),
        "text": text,
        "model": type(model).__name__,
        "recipe": digest(experiment),
        "watch": experiment.watch,
        "larger_is_better": evaluation.larger_is_better,
        "directions": {
            str(each.watched): each.larger_is_better
            for each in experiment.evaluations.values()
            if each.watched
        },
        "policy": policy,
        "published": dataclasses.asdict(published) if published else None,
    }


def corpus_of(data: Any) -> str:
    """The name of a data value's text, or of its texts."""
    return " + ".join(part.corpus.source for part in getattr(data, "parts", (data,)))


def entries(
    found: Mapping[str, Found],
    *,
    split: str,
    step: int,
    corpus: str,
    text: str,
    policy: str,
) -> list[dict]:
    """Entries of a result's "scores": numbers, and all that they depend on.

    Args:
        found: by evaluations, each by its name or in words; what gives no score is
            left out.
        split: of the corpus.
        step: of the parameters.
        corpus: the name of the text.
        text: its digest.
        policy: what is seen before a token that is scored.

    Returns:
        Entries that name the code of this process, too.
    """
    place = {"split": split, "step": step, "corpus": corpus, "text": text}
    place |= {"policy": policy, "code": own_code()}
    return [
        {"evaluation": name, **place, "scores": made.scores, **made.more}
        for name, made in found.items()
        if made.scores
    ]
