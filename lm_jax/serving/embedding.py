"""Vectors of texts: programs that are compiled before the first request."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lm_jax.data.examples import read_whole
from lm_jax.errors import NotFinite, UserError
from lm_jax.platform import products_of
from lm_jax.retrieval.embedding import longest
from lm_jax.retrieval.reading import Side
from lm_jax.runs.model import NeuralModel
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.trained import prompted

LENGTHS = (16, 64, 256, 1024)
"""Tokens of a text: the lengths that are compiled, up to the longest of a model."""

ROWS, TOKENS = 16, 2048
"""Texts that are read together, at most, and their tokens: of more a CPU gains nothing,
and who leaves is noticed later."""

Ids = Int[np.ndarray, " _"]
Places = Int[np.ndarray, " _"]
Program = Callable[..., Float[jax.Array, "rows width"]]


class Embedder:
    """Vectors of texts; those of a request that are of like length are read together.

    Those of a bi-encoder are what `index` and `search` have of it. Those of a model
    that continues text are the mean of the features of its tokens. In float32 a vector
    is what it is alone, to the last digits.

    Args:
        fitted: the network.
        context: tokens of a text at most; None is the model's.

    Attributes:
        longest: tokens of a text, by who reads it: "passage", and of a bi-encoder
            "query" too.
        width: numbers of a vector.
        compiled: how many programs were compiled.
        texts, tokens: that were read.
    """

    def __init__(self, fitted: NeuralModel, context: int | None = None):
        self._fitted, self.compiled = fitted, 0
        self.texts = self.tokens = 0
        most: dict[Side, int] = {"passage": fitted.context}
        if fitted.embeds:
            most["passage"] = longest(fitted, "passage")
            most["query"] = longest(fitted, "query")
        self.longest = {side: min(context or n, n) for side, n in most.items()}
        self._programs = self._compiled()

    def _compiled(self) -> dict[Side, dict[int, dict[int, Program]]]:
        """By side, length and rows. Sides that share a tower share its programs."""
        if self._fitted.model.one_tower:
            both = self._of_tower("passage", max(self.longest.values()))
            return dict.fromkeys(self.longest, both)
        return {side: self._of_tower(side, n) for side, n in self.longest.items()}

    def _of_tower(self, side: Side, longest: int) -> dict[int, dict[int, Program]]:
        fitted = self._fitted
        vectors = jax.jit((_read_by if fitted.embeds else _mean_of)(fitted.model, side))

        def made(rows: int, length: int) -> Program:
            texts = np.zeros((rows, length), np.int32), np.ones(rows, np.int32)
            lowered = vectors.lower(fitted.params, *texts)
            self.compiled, self.width = self.compiled + 1, lowered.out_info.shape[1]
            return lowered.compile()

        lengths = [*(n for n in LENGTHS if n < longest), longest]
        return {
            n: {rows: made(rows, n) for rows in sorted({1, _together(n)})}
            for n in lengths
        }

    def read(self, given: str | Sequence[int]) -> Ids:
        """Give what is read of a text, or of the ids of one.

        A bi-encoder reads what stood around texts in training; none of a text without
        a token.

        Raises:
            UserError: the vocabulary lacks something of the text.
        """
        fitted = self._fitted
        if not fitted.embeds:
            return read_prompt(fitted.tokenizer, given)
        ids = fitted.tokenizer.encode(given) if isinstance(given, str) else given
        found = np.array(ids, np.int32)
        return read_whole(fitted.tokenizer, found) if len(found) else found

    def count(self, texts: int, tokens: int) -> None:
        """Add to what was read."""
        self.texts, self.tokens = self.texts + texts, self.tokens + tokens

    def check(self, ids: Ids, side: Side = "passage") -> None:
        """Refuse what has no vector.

        Raises:
            UserError: there are no tokens, too many, or some that the model doesn't
                know.
        """
        most, known = self.longest[side], self._fitted.model.vocab_size
        if not 0 < len(ids) <= most:
            of = f"tokens of a {side}" if self._fitted.embeds else "the model's context"
            raise UserError(
                f"The input has {len(ids)} tokens; vectors are of 1 to {most}, {of}."
            )
        if not 0 <= ids.min() <= ids.max() < known:
            raise UserError(
                f"The input has token {ids.max()}, and the model knows 0 to "
                f"{known - 1}."
            )

    def batches(self, texts: Sequence[Ids], side: Side = "passage") -> list[Places]:
        """Give the places of the texts that are read together.

        Where fewer than half of a batch are left, they are read one by one.

        Args:
            texts: as `read` gives them, none longer than is read.
            side: who reads them.
        """
        lengths, found = [*self._programs[side]], list[Places]()
        fits = np.searchsorted(lengths, [len(ids) for ids in texts])
        for k, length in enumerate(lengths):
            members, most = np.flatnonzero(fits == k), _together(length)
            for first in range(0, len(members), most):
                places = members[first : first + most]
                half = 2 * len(places) >= most
                found += [places] if half else np.split(places, len(places))
        return found

    def vectors(
        self, texts: Sequence[Ids], side: Side = "passage"
    ) -> Float[np.ndarray, "texts width"]:
        """Give the vectors of the texts of a batch, float32.

        Args:
            texts: as `read` gives them.
            side: who reads them.

        Raises:
            UserError: as `check`.
            NotFinite: a number of them is infinite, or none.
        """
        for ids in texts:
            self.check(ids, side)
        longest, programs = max(map(len, texts)), self._programs[side]
        length = next(n for n in programs if n >= longest)
        rows = next(n for n in programs[length] if n >= len(texts))
        tokens, counts = np.zeros((rows, length), np.int32), np.ones(rows, np.int32)
        for row, ids in enumerate(texts):
            tokens[row, : len(ids)], counts[row] = ids, len(ids)
        made = programs[length][rows](self._fitted.params, tokens, counts)
        found = np.asarray(made, np.float32)[: len(texts)]
        if not np.isfinite(found).all():
            raise NotFinite("The vector of a text is not finite.")
        return found


def _together(length: int) -> int:
    """How many texts of a length are read together."""
    return max(1, min(ROWS, TOKENS // length))


def read_prompt(tokenizer: Trained, given: str | Sequence[int]) -> Ids:
    """Give what a model that continues text reads of a text, or of ids.

    Raises:
        UserError: the vocabulary lacks something of the text.
    """
    if isinstance(given, str):
        return prompted(tokenizer, given)
    return np.array(given, np.int32)


def _read_by(model, side: Side) -> Callable:
    def read(params, tokens, counts):
        real = (jnp.arange(tokens.shape[1]) < counts[:, None]).astype(jnp.int32)
        with products_of(model):
            method = f"{side}_vectors"
            return model.apply({"params": params}, tokens, real, method=method)

    return read


def _mean_of(model, _: Side) -> Callable:
    def mean(params, tokens, counts):
        real = jnp.arange(tokens.shape[1]) < counts[:, None]
        segments = real.astype(jnp.int32)
        with products_of(model):
            given = {"segments": segments, "method": "features"}
            hidden, _ = model.apply({"params": params}, tokens, **given)
        return jnp.mean(hidden.astype(jnp.float32), axis=1, where=real[:, :, None])

    return mean
