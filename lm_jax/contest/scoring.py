"""The referee's own scores of a checkpoint: its text, its objective, its bytes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lm_jax.errors import UserError
from lm_jax.experiment import Experiment
from lm_jax.objectives.sums import applied
from lm_jax.runs.model import load_model
from lm_jax.runs.result import read_result
from lm_jax.training.fitting import beside
from lm_jax.training.setup import CACHE


class Unfit(UserError):
    """A model whose scores would be none of what the contest measures."""


_SAME = 1e-3  # of the largest logit: what another order of sums may change


def score(base: Experiment, run: Path) -> dict[str, dict[str, float]]:
    """Score the last checkpoint of a run as a contest's own recipe would.

    Of the run come the model and its parameters. Text, tokenizer, windows, objective
    and evaluation are the contest's: so are the bytes that bits are divided by.

    Args:
        base: the contest's own recipe.
        run: that has ended.

    Returns:
        Scores of the validation split, and of the test split where there is one.

    Raises:
        Unfit: the model sees what it is to predict, or gives no probabilities of
            the contest's tokens.
    """
    data = base.data.prepare(CACHE)
    loaded: Any = load_model(run, read_result(run)["steps"])
    check_predicts(base, data, loaded.model, loaded.params)
    loaded = replace(
        loaded, experiment=base, tokenizer=data.tokenizer, context=data.context
    )
    fitted, evaluation = beside(loaded, data), base.evaluations[base.watch]
    splits = [split for split in ("validation", "test") if split in data.splits]
    return {split: evaluation.run(fitted, split).scores for split in splits}


def check_predicts(base: Experiment, data: Any, model: Any, params: Any) -> None:
    """See that a model predicts each token from those before it alone.

    A row of the validation split is read twice, the second time with other tokens in
    its latter half and in the row beside it: what was said of its first half must be
    the same.

    Raises:
        Unfit: it isn't; or there are logits for other tokens than the data's.
    """
    if not base.objective.causal:
        return
    rows = data.lanes or 2
    batch = dict(data.evaluation("validation", rows)[0])
    batch |= {"row": np.arange(rows)}
    carry = model.empty_cache(rows, 0) if data.lanes else None
    inputs, half = np.asarray(batch["inputs"]), batch["inputs"].shape[1] // 2
    other = (inputs + 1) % data.vocab_size
    other[0, :half] = inputs[0, :half]
    read = jax.jit(
        lambda batch: applied(base.objective, model, params, batch, None, carry)[0][0]
    )
    before, after = (
        np.asarray(read(batch | {"inputs": tokens})) for tokens in (inputs, other)
    )
    if before.shape[-1] != data.vocab_size:
        raise Unfit(
            f"The model gives logits of {before.shape[-1]} tokens, and the contest's "
            f"data has {data.vocab_size}."
        )
    change = np.abs(before[0, :half] - after[0, :half]).max()
    if not change <= _SAME * max(1.0, np.abs(before).max()):
        raise Unfit(
            "The model sees what it is to predict: its logits of a token change with "
            "the tokens after it, or with other rows of the batch."
        )
