"""All that is told of one text: probabilities, or a decision; and attention."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_jax.errors import UserError
from lm_jax.inspection.attention import attention_maps
from lm_jax.inspection.attributions import Decision, explain
from lm_jax.inspection.formulations import NAMES, formulation_of
from lm_jax.inspection.reading import Reading, read, seen_before
from lm_jax.runs.model import CountedModel, NeuralModel

Maps = Float[np.ndarray, "layers heads time time"]


class Inspected(NamedTuple):
    """What a model says of a text.

    Attributes:
        texts: one, or the two of a pair.
        formulation: how its tokens are scored; "" where a class is told.
        seen: what is seen before the tokens.
        reading: the probability of each token, of a model that predicts them.
        decision: what is told of the text, and by which words, of one that tells.
        maps: of attention, where they were asked for.
    """

    texts: tuple[str, ...]
    formulation: str = ""
    seen: str = ""
    reading: Reading | None = None
    decision: Decision | None = None
    maps: Maps | None = None

    @property
    def symbols(self) -> list[str]:
        """The tokens that were read, as they are printed."""
        found = self.reading or self.decision
        assert found is not None
        return found.symbols


def inspect(
    model: NeuralModel | CountedModel,
    texts: Sequence[str],
    alternatives: int = 5,
    label: str = "",
    attention: bool = False,
) -> Inspected:
    """Give what a model says of a text, token by token.

    Args:
        model: of any family that predicts tokens or tells something of a text.
        texts: one, or the two of a pair.
        alternatives: the likeliest tokens to name at each place.
        label: the class that is explained; the likeliest, if "".
        attention: whether maps of attention are made.

    Raises:
        UserError: the model does neither, or not of such texts.
    """
    objective = getattr(model.experiment, "objective", None)
    if getattr(model, "labels", ()) or (objective and objective.tells):
        decision = explain(model, texts, label)
        row = decision.row
        maps = attention_maps(model, row.tokens, row.segments) if attention else None
        return Inspected(tuple(texts), decision=decision, maps=maps)
    if label:
        raise UserError(f"--label {label!r}: this model tells no classes.")
    return _read(model, " ".join(texts), alternatives, attention)


def _read(
    model: NeuralModel | CountedModel, text: str, alternatives: int, attention: bool
) -> Inspected:
    formulation = formulation_of(model)
    (reading,) = read(model, [text], formulation, alternatives)
    tokens, maps = reading.tokens, None
    if attention:
        alone = None if model.writes else np.ones(len(tokens), np.int32)
        maps = attention_maps(model, tokens, alone)
    seen = seen_before(model, len(tokens))
    return Inspected((text,), NAMES[formulation], seen, reading, None, maps)
