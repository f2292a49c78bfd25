"""How a text's tokens become queries: what is seen before each is what is hidden.

A causal model is asked for each token given those before it. A model that reads from
both sides has no probability of a text; what stands for it has a name.
"""

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from lm_jax.data.masking import MASK, numbered_words, word_edges
from lm_jax.errors import UserError
from lm_jax.inspection.queries import Query
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.pretrained import PieceTokenizer
from lm_jax.tokenizers.specials import WithSpecials
from lm_jax.tokenizers.trained import beginning

Formulation = Literal["log-likelihood", "within-words", "tokens", "shared"]

NAMES: dict[Formulation, str] = {
    "log-likelihood": "log-likelihood: each token given those before it",
    "within-words": "pseudo-log-likelihood within words, from left to right (Kauf and "
    "Ivanova 2023): each token given all others but what follows it in its word",
    "tokens": "pseudo-log-likelihood (Salazar et al. 2020): each token given all "
    "others, those of its word too",
    "shared": "pseudo-log-likelihood of shared tokens (Nangia et al. 2020, "
    "CrowS-Pairs): each token that both sentences have given all others",
}


class Asked(NamedTuple):
    """A text as tokens, and what is asked of them.

    Attributes:
        tokens: of the text, and what stands around it.
        words: the number of each token's word; -1 is around the text.
        scored: places of the tokens that are asked for, in their order.
        queries: which ask for these, in their order.
    """

    tokens: Int[np.ndarray, " tokens"]
    words: Int[np.ndarray, " tokens"]
    scored: Int[np.ndarray, " scored"]
    queries: tuple[Query, ...]


def formulation_of(
    model: NeuralModel | CountedModel, wanted: Formulation | None = None
) -> Formulation:
    """Give the formulation that a model's texts are scored by.

    Args:
        model: of any family.
        wanted: one of its kind; None is what suits it best.

    Raises:
        UserError: it predicts no tokens, or not so.
    """
    kind = _kind(model)
    if kind == "causal":
        fitting: tuple[Formulation, ...] = ("log-likelihood",)
    else:
        fitting = ("within-words", "tokens", "shared")
    if wanted is None:
        return fitting[0]
    if wanted not in fitting:
        raise UserError(
            f"--formulation {wanted} is not for a model that reads "
            f"{'from left to right' if kind == 'causal' else 'from both sides'}. There "
            f"is: {', '.join(fitting)}."
        )
    return wanted


def _kind(model: NeuralModel | CountedModel) -> Literal["causal", "both sides"]:
    if model.writes and not model.from_sources:
        return "causal"
    objective: Any = getattr(model.experiment, "objective", None)
    if objective is not None and "masked_positions" in objective.reads:
        return "both sides"
    what = "by counting" if objective is None else f"by {objective}"
    raise UserError(
        f"This model was fitted {what}: it predicts no tokens of a text. Models of the "
        "next token and of masked tokens do."
    )


def ask(
    model: NeuralModel | CountedModel, texts: Sequence[str], formulation: Formulation
) -> list[Asked]:
    """Say what a model is asked of each text.

    Args:
        model: of any family that predicts tokens.
        texts: in which the tokenizer finds a token.
        formulation: of the model; not "shared", which is of pairs.

    Raises:
        UserError: a text has no token; the vocabulary lacks something of it.
    """
    if formulation == "log-likelihood":
        return [_from_left_to_right(model, text) for text in texts]
    hiding = _Hiding(model, formulation == "within-words")
    return [hiding.asked(text, None) for text in texts]


def ask_shared(
    model: NeuralModel | CountedModel, first: str, second: str
) -> tuple[Asked, Asked]:
    """Ask for what both texts have, each token by itself (Nangia et al. 2020, 3).

    Raises:
        UserError: as `ask`; they share no token.
    """
    hiding = _Hiding(model, False)
    texts = first, second
    one, other = (encoded(model.tokenizer, text).tolist() for text in texts)
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    if not blocks:
        raise UserError(f"{first!r} and {second!r} share no token.")
    places = (
        [b.a + k for b in blocks for k in range(b.size)],
        [b.b + k for b in blocks for k in range(b.size)],
    )
    return hiding.asked(first, places[0]), hiding.asked(second, places[1])


def encoded(tokenizer: Trained, text: str) -> Int[np.ndarray, " tokens"]:
    """Give the tokens of a text.

    Raises:
        UserError: there is none, or the vocabulary lacks something of it.
    """
    ids = tokenizer.encode(text)
    if not len(ids):
        raise UserError(f"The text {text!r} has no token: there is nothing to read.")
    return ids


def _from_left_to_right(model: NeuralModel | CountedModel, text: str) -> Asked:
    ids = encoded(model.tokenizer, text)
    words = words_of(model.tokenizer)(text, ids)
    first = opening(model.tokenizer)
    if len(first) and first[0] != ids[0]:
        ids, words = np.append(first, ids), np.append(np.full(len(first), -1), words)
    scored = np.arange(1, len(ids))
    return Asked(ids, words, scored, tuple(windows(ids, model.longest)))


def windows(ids: Int[np.ndarray, " tokens"], context: int | None) -> Iterator[Query]:
    """Ask for each token but the first, in disjoint windows as an evaluation does.

    Args:
        ids: of a text.
        context: tokens of a window; None reads all at once.
    """
    size = context or len(ids)
    for start in range(0, len(ids) - 1, size):
        window = ids[start : start + size + 1]
        yield Query(window[:-1], np.arange(len(window) - 1), window[1:])


def opening(tokenizer: Trained) -> Int[np.ndarray, " tokens"]:
    """Give what a text is read after, as in training; nothing where that is unknown.

    The end of the document before it, or a line end or space where documents have no
    end.
    """
    first = beginning(tokenizer)
    if tokenizer.end_id is None and not tokenizer.decode(first).isspace():
        return first[:0]
    return first[:1]


def words_of(tokenizer: Trained) -> Callable[[str, np.ndarray], np.ndarray]:
    """Give what numbers the words of a text's tokens, from 0."""
    inner = _inner(tokenizer)
    if isinstance(inner, PieceTokenizer):
        return lambda text, ids: _numbered(inner.words(text))
    edges = word_edges(inner)
    return lambda text, ids: numbered_words(ids, edges)


def _numbered(words: Sequence[int | None]) -> Int[np.ndarray, " tokens"]:
    """Words in their order; a token of none is one by itself."""
    new = [k == 0 or w is None or w != words[k - 1] for k, w in enumerate(words)]
    return np.cumsum(new) - 1


class _Hiding:
    """Hides tokens of texts from a model that reads from both sides.

    Args:
        model: of masked tokens.
        whole: whether what follows a token in its word is hidden with it.
    """

    def __init__(self, model: NeuralModel | CountedModel, whole: bool):
        self._model, self._whole = model, whole
        self._mask = mask_id(model.tokenizer)
        self._before, self._after = around(model.tokenizer)
        self._words = words_of(model.tokenizer)

    def asked(self, text: str, places: Sequence[int] | None) -> Asked:
        """Ask for some tokens of a text; None is all."""
        ids = encoded(self._model.tokenizer, text)
        before, after = (np.array(part, np.int32) for part in self._parts(ids))
        tokens = np.concatenate([before, ids, after])
        words = np.full(len(tokens), -1)
        own = np.arange(len(ids)) + len(before)
        words[own] = self._words(text, ids)
        scored = own if places is None else own[np.asarray(places, int)]
        asked = tuple(self._hidden(tokens, words, int(place)) for place in scored)
        return Asked(tokens, words, scored, asked)

    def _parts(self, ids: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What stands around a text that doesn't have it itself."""
        before = () if self._before == (ids[0],) else self._before
        return before, () if self._after == (ids[-1],) else self._after

    def _hidden(self, tokens: np.ndarray, words: np.ndarray, place: int) -> Query:
        """The window of a token, with it hidden."""
        row = tokens.astype(np.int32)
        row[place] = self._mask
        if self._whole:
            row[(words == words[place]) & (np.arange(len(row)) > place)] = self._mask
        size = self._model.longest or len(row)
        start = place // size * size
        where, target = np.array([place - start]), tokens[place : place + 1]
        return Query(row[start : start + size], where, target.astype(np.int32))


def mask_id(tokenizer: Trained) -> int:
    """Give the token that hides others.

    Raises:
        UserError: there is none.
    """
    found = None
    if isinstance(tokenizer, WithSpecials):
        found = tokenizer.id_of(MASK)
    elif isinstance(tokenizer, PieceTokenizer):
        found = tokenizer.id_of("mask")
    if found is None:
        raise UserError("The tokenizer has no token that hides others.")
    return found


def around(tokenizer: Trained) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give what stands before and after a text in training, where anything does.

    Those of a checkpoint's tokenizer ([CLS] and [SEP]), or the ends of documents.
    """
    inner = _inner(tokenizer)
    cls = sep = end = inner.end_id
    if isinstance(inner, PieceTokenizer) and inner.id_of("cls") is not None:
        cls, sep = inner.id_of("cls"), inner.id_of("sep")
    return tuple(() if i is None else (i,) for i in (cls, sep or end))  # type: ignore


def _inner(tokenizer: Trained) -> Trained:
    return tokenizer.tokenizer if isinstance(tokenizer, WithSpecials) else tokenizer
