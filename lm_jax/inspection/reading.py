"""What a model says of each token of a text, and of the whole."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lm_jax.errors import NotFinite
from lm_jax.inspection.formulations import (
    Asked,
    Formulation,
    ask,
    ask_shared,
    formulation_of,
    opening,
)
from lm_jax.inspection.queries import Answers, Progress, Query, answer, joined
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.trained import visible


class Reading(NamedTuple):
    """A text as its model sees it.

    Attributes:
        tokens: of the text, and what stands around it.
        symbols: how each is printed.
        scored: places of the tokens that have a probability; the others have none.
        answers: of these, in their order.
        likeliest_symbols: how the likeliest tokens at each of these are printed.
        spaced: whether tokens are words with a space between them.
    """

    tokens: Int[np.ndarray, " tokens"]
    symbols: list[str]
    scored: Int[np.ndarray, " scored"]
    answers: Answers
    likeliest_symbols: list[list[str]]
    spaced: bool

    @property
    def log_probability(self) -> float:
        """The score of the text: the sum over the tokens that are scored."""
        return _sum(self.answers)


def read(
    model: NeuralModel | CountedModel,
    texts: Sequence[str],
    formulation: Formulation | None = None,
    alternatives: int = 1,
    progress: Progress | None = None,
) -> list[Reading]:
    """Give the probability of each token of texts.

    Args:
        model: of any family that predicts tokens.
        texts: each with a token.
        formulation: how texts are scored; None is what suits the model.
        alternatives: how many of the likeliest tokens to name at each place.
        progress: told (description, done, total).

    Raises:
        UserError: the model predicts no tokens, a text has none, or the vocabulary
            lacks something.
        NotFinite: the model's numbers are none.
    """
    asked = ask(model, texts, formulation_of(model, formulation))
    found = iter(
        _answered(model, [each.queries for each in asked], alternatives, progress)
    )
    return [
        _reading(model.tokenizer, each, answers)
        for each, answers in zip(asked, found, strict=True)
    ]


def _reading(tokenizer: Trained, asked: Asked, answers: Answers) -> Reading:
    return Reading(
        asked.tokens,
        tokenizer.symbols(asked.tokens),
        asked.scored,
        answers,
        [tokenizer.symbols(row) for row in answers.likeliest],
        bool(tokenizer.joiner),
    )


def score(
    model: NeuralModel | CountedModel,
    texts: Sequence[str],
    formulation: Formulation | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Give the log-probability of texts, in nats; equal texts have equal ones.

    Neither the order of the texts nor how often one comes changes anything.

    Args, Raises: as `read`.
    """
    unique = sorted(set(texts))
    asked = ask(model, unique, formulation_of(model, formulation))
    found = _answered(model, [each.queries for each in asked], 1, progress)
    told = dict(zip(unique, map(_sum, found), strict=True))
    return [told[text] for text in texts]


def score_shared(
    model: NeuralModel | CountedModel,
    pairs: Sequence[tuple[str, str]],
    progress: Progress | None = None,
) -> list[tuple[float, float]]:
    """Score the texts of pairs by the tokens that both have (Nangia et al. 2020).

    Args, Raises: as `read`; and a pair shares no token.
    """
    formulation_of(model, "shared")
    queries = []
    unique = sorted({(min(pair), max(pair)) for pair in pairs})
    for pair in unique:
        queries += [asked.queries for asked in ask_shared(model, *pair)]
    found = iter(_answered(model, queries, 1, progress))
    told = {}
    for one, other in unique:
        of_one, of_other = next(found), next(found)
        told[one, other] = _sum(of_one), _sum(of_other)
        told[other, one] = told[one, other][::-1]
    return [told[pair] for pair in pairs]


def _sum(answers: Answers) -> float:
    return math.fsum(answers.log_probabilities.tolist())


def _answered(
    model: NeuralModel | CountedModel,
    asked: Sequence[tuple[Query, ...]],
    alternatives: int,
    progress: Progress | None,
) -> list[Answers]:
    """Ask all at once, and put the answers of each text side by side."""
    flat = [query for queries in asked for query in queries]
    answers = iter(answer(model, flat, alternatives, progress))
    found = [
        joined([next(answers) for _ in queries]) if queries else _NOTHING
        for queries in asked
    ]
    for each in found:
        if np.isnan(each.log_probabilities).any():
            raise NotFinite(
                "The model's probabilities are not numbers: its parameters are not "
                "finite, or too large. Take an earlier checkpoint (--step)."
            )
    return found


_NOTHING = Answers(
    np.zeros(0), np.zeros(0, int), np.zeros((0, 1), int), np.zeros((0, 1))
)


def seen_before(model: NeuralModel | CountedModel, tokens: int) -> str:
    """Say what texts are read after, and in which windows."""
    first = opening(model.tokenizer) if model.writes else ()
    said = [f"after {named(model.tokenizer, int(i))}" for i in first]
    if model.writes and not said:
        said = ["the first token has no probability"]
    most = model.longest
    if most is not None and tokens > most:
        said.append(f"in disjoint windows of {most:,} tokens")
    return ", ".join(said)


def named(tokenizer: Trained, token: int) -> str:
    """A token as it stands in a sentence."""
    (symbol,) = tokenizer.symbols([token])
    return f"'{visible(symbol)}'"
