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

Ids = Int[np.ndarray, " tokens"]


class Embedder:
    """Vectors of texts, each made alone: what is asked beside it changes nothing.

    Those of a bi-encoder are what `index` and `search` have of it. Those of a model
    that continues text are the mean of the features of its tokens.

    Args:
        fitted: the network.
        context: tokens of a text at most; None is the model's.

    Attributes:
        longest: tokens of a text, by who reads it: "passage", and of a bi-encoder
            "query" too.
        width: numbers of a vector.
        texts, tokens: that were read.
    """

    def __init__(self, fitted: NeuralModel, context: int | None = None):
        self._fitted, self.texts, self.tokens = fitted, 0, 0
        most: dict[Side, int] = {"passage": fitted.context}
        if fitted.embeds:
            most["passage"] = longest(fitted, "passage")
            most["query"] = longest(fitted, "query")
        self.longest = {side: min(context or n, n) for side, n in most.items()}
        self._programs = {
            side: self._compiled(side, most) for side, most in self.longest.items()
        }

    @property
    def compiled(self) -> int:
        """How many programs were compiled."""
        return sum(map(len, self._programs.values()))

    def _compiled(self, side: Side, longest: int) -> dict[int, Callable]:
        fitted = self._fitted
        vector = jax.jit((_read_by if fitted.embeds else _mean_of)(fitted.model, side))
        lengths = [*(n for n in LENGTHS if n < longest), longest]
        made = {
            n: vector.lower(fitted.params, np.zeros(n, np.int32), np.int32(1))
            for n in lengths
        }
        (self.width,) = made[longest].out_info.shape
        return {n: lowered.compile() for n, lowered in made.items()}

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

    def vector(self, ids: Ids, side: Side = "passage") -> Float[np.ndarray, " width"]:
        """Give the vector of a text, float32.

        Args:
            ids: as `read` gives them.
            side: who reads it.

        Raises:
            UserError: as `check`.
            NotFinite: a number of it is infinite, or none.
        """
        self.check(ids, side)
        programs = self._programs[side]
        length = next(n for n in programs if n >= len(ids))
        tokens = np.zeros(length, np.int32)
        tokens[: len(ids)] = ids
        made = programs[length](self._fitted.params, tokens, np.int32(len(ids)))
        found = np.asarray(made, np.float32)
        if not np.isfinite(found).all():
            raise NotFinite("The vector of a text is not finite.")
        return found


def read_prompt(tokenizer: Trained, given: str | Sequence[int]) -> Ids:
    """Give what a model that continues text reads of a text, or of ids.

    Raises:
        UserError: the vocabulary lacks something of the text.
    """
    if isinstance(given, str):
        return prompted(tokenizer, given)
    return np.array(given, np.int32)


def _read_by(model, side: Side) -> Callable:
    def read(params, tokens, count):
        real = (jnp.arange(len(tokens)) < count).astype(jnp.int32)
        with products_of(model):
            given, method = (tokens[None], real[None]), f"{side}_vectors"
            return model.apply({"params": params}, *given, method=method)[0]

    return read


def _mean_of(model, _: Side) -> Callable:
    def mean(params, tokens, count):
        real = jnp.arange(len(tokens)) < count
        with products_of(model):
            hidden, _ = model.apply(
                {"params": params},
                tokens[None],
                segments=real.astype(jnp.int32)[None],
                method="features",
            )
        return jnp.mean(hidden[0].astype(jnp.float32), axis=0, where=real[:, None])

    return mean
