"""The run that an objective reads beside the model: read and checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn

from lm_jax.adapting import dequantized
from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.models.model import lacking
from lm_jax.objectives import Objective, ObjectiveBase
from lm_jax.runs.directory import find_run
from lm_jax.runs.ledger import digest_of_parameters
from lm_jax.runs.model import NeuralModel, load_model
from lm_jax.tokenizers.saved import digest


@dataclass(frozen=True, eq=False)
class Guided:
    """A run whose model an objective reads.

    Attributes:
        field: of the objective, that names it.
        run: its directory.
        step: of its parameters.
        model: for the texts of the run that is trained.
        params: where they were read to.
    """

    field: str
    run: Path
    step: int
    model: nn.Module
    params: Any

    def about(self) -> dict[str, Any]:
        """What a run keeps of it, to know it again."""
        return {
            "field": self.field,
            "run": str(self.run),
            "step": self.step,
            "parameters": digest_of_parameters(self.params),
        }


def find_guide(objective: Objective | ObjectiveBase, data: Prepared) -> Guided:
    """Read the run that an objective names.

    Args:
        objective: which has such a field.
        data: that both models read.

    Raises:
        UserError: there is no such run, or it doesn't fit the data or the objective.
    """
    if data.lanes:
        raise UserError(
            f"{type(objective).__name__} reads a second model, and its state isn't "
            "carried from batch to batch. Use TokenStream: recurrent models learn "
            "from it too."
        )
    field = f"objective.{objective.guide}"
    given = getattr(objective, objective.guide)
    if not given:
        raise UserError(
            f"{type(objective).__name__} learns from another run, and {field} names "
            f"none: give its directory (--{field} RUN)."
        )
    run = find_run(given_path(given, field))
    loaded = load_model(run)
    if not isinstance(loaded, NeuralModel):
        raise UserError(
            f"{field}: {run} was fitted by counting, and has no parameters to compute "
            "with beside the model. Name a run that was trained by steps."
        )
    for problem in _problems(run, loaded, objective, data):
        raise UserError(f"{field}: {run} {problem}")
    try:
        model = loaded.model.filled(data.vocab_size, data.context)
    except ValueError as error:
        raise UserError(f"{field}: {run}: {error}") from error
    return Guided(objective.guide, run, loaded.step, model, dequantized(loaded.params))


def _problems(
    run: Path, loaded: NeuralModel, objective: Any, data: Prepared
) -> Iterator[str]:
    """Say what of a run fits neither data nor objective."""
    name = type(objective).__name__
    if digest(loaded.tokenizer) != digest(data.tokenizer):
        yield (
            f"has other tokens: {loaded.tokenizer.vocab_size:,} of them, and there are "
            f"{data.vocab_size:,} here. Use its tokenizer (--data.tokenizer Kept "
            f"--data.tokenizer.run {run}), or name a run that has the one of this data."
        )
    if missing := lacking(loaded.model, objective.calls):
        yield (
            f"holds a {type(loaded.model).__name__}, which lacks "
            f"{', '.join(missing)}, and {name} calls these."
        )
    elif objective.causal not in (None, loaded.model.causal):
        sees = "what comes after too" if objective.causal else "only what came before"
        yield f"holds a {type(loaded.model).__name__}, which sees {sees}."
    if loaded.labels != data.labels:
        yield (
            f"tells {', '.join(loaded.labels) or 'no classes'} apart, and the data "
            f"has {', '.join(data.labels) or 'no labels'}."
        )
