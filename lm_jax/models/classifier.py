"""A class, or a number, of a text, from the vectors that any body gives its tokens."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.models.dropout import dropout
from lm_jax.models.linear import Dense
from lm_jax.models.over_body import OverBody
from lm_jax.models.pooling import Mean, Pool

__all__ = ["Classifier"]


class Classifier(OverBody):
    """A body, what makes one vector of its features, and one layer.

    The layer's parameters are ``class_head``, beside the body's.

    Attributes:
        body: as of `OverBody`.
        pool: how they become the text's.
        dropout: rate on the text's vector.
        classes: classes to tell apart; 0 takes those of the data, and gives one
            number where it has none.
        window: tokens that the body reads at once: a longer text is read in windows,
            and its vector is the mean of theirs. None reads it whole.
        stride: tokens between the starts of two windows; None is the window.
        apart: whether the texts of a pair are read each by itself, and their vectors
            u and v compared: [u, v, |u - v|, u * v] (Conneau et al. 2017). Else they
            are read as one text; an encoder with two ``segment_types`` or more is told
            which token is of which (Devlin et al. 2019, 3).
    """

    pool: Pool = Mean()
    dropout: float = within("[0, 1)", 0.0)
    classes: int = within("[0, 2147483647]", 0)
    window: int | None = within(SIZES, None)
    stride: int | None = within(SIZES, None)
    apart: bool = False

    @nn.compact
    def class_logits(
        self, vector: Float[Array, "batch width"]
    ) -> Float[Array, "batch classes"]:
        """Score each class, float32, from features."""
        inputs, outputs = vector.shape[-1], self.classes or 1
        sizes = inputs, outputs, self.head_std(inputs), True, vector.dtype
        return Dense(*sizes, name="class_head")(vector, jnp.float32)

    def number(self, vector: Float[Array, "batch width"]) -> Float[Array, " batch"]:
        """Give the one number of each text, float32, from features."""
        return self.class_logits(vector)[:, 0]

    def features(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch width"], None]:
        """Read texts: a vector of each.

        Args:
            tokens: a text a row.
            segments: 0 is padding, on either side; 1 is the first text of a pair and
                2 the second.
            dropout_keys: one random key for each example switches dropout on.

        Returns:
            The vectors, float32; and None.
        """
        segments = jnp.ones_like(tokens) if segments is None else segments
        if self.apart:
            vector = self._compared(tokens, segments, dropout_keys)
        elif tokens.shape[1] <= (self.window or tokens.shape[1]):
            vector = self._read(tokens, segments, dropout_keys)
        else:
            vector = self._in_windows(tokens, segments, dropout_keys)
        return dropout(vector, self.dropout, dropout_keys, "vector"), None

    def _read(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        dropout_keys: Key[Array, " batch"] | None,
    ) -> Float[Array, "batch width"]:
        """Read texts that the body sees whole."""
        real, types = segments > 0, (segments == 2).astype(jnp.int32)
        one = real.astype(jnp.int32)
        hidden = self._hidden(tokens, one, (real,), dropout_keys, types)
        return self.pool(hidden, real)

    def _compared(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        dropout_keys: Key[Array, " batch"] | None,
    ) -> Float[Array, "batch four_widths"]:
        """Read the texts of pairs each by itself, and compare their vectors."""
        texts = (segments == 1, segments == 2)
        hidden = self._hidden(tokens, segments, texts, dropout_keys)
        u, v = (self.pool(hidden, real) for real in texts)
        return jnp.concatenate([u, v, jnp.abs(u - v), u * v], axis=-1)

    def _in_windows(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        dropout_keys: Key[Array, " batch"] | None,
    ) -> Float[Array, "batch width"]:
        """Give the mean over windows, of those that have a token of their own."""
        window, stride = self.window or 1, self.stride or self.window or 1
        # Windows begin with the text, not with the padding before it.
        first = jnp.argmax(segments > 0, axis=1)[:, None]
        order = (first + jnp.arange(tokens.shape[1])) % tokens.shape[1]
        tokens = jnp.take_along_axis(tokens, order, axis=1)
        segments = jnp.take_along_axis(segments, order, axis=1)
        count = 1 - (window - tokens.shape[1]) // stride
        places = stride * jnp.arange(count)[:, None] + jnp.arange(window)
        inside = places < tokens.shape[1]
        places = jnp.minimum(places, tokens.shape[1] - 1)
        read = jnp.where(inside, segments[:, places], 0)
        own = (read > 0)[:, :, window - stride :].any(-1).at[:, 0].set(True)
        keys = None
        if dropout_keys is not None:
            fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
            keys = fold(dropout_keys, jnp.arange(count)).reshape(-1)
        # As for the vector, others don't count for penalties.
        self.sow("penalties", "counted", own.reshape(-1).astype(jnp.float32))
        vectors = self._read(
            tokens[:, places].reshape(-1, window), read.reshape(-1, window), keys
        ).reshape(*own.shape, -1)
        return Mean()(vectors, own)

    def __call__(
        self, tokens: Int[Array, "batch time"], *args: Any, **kwargs: Any
    ) -> Float[Array, "batch classes"]:
        """Give the logits of the classes."""
        return self.class_logits(self.features(tokens, *args, **kwargs)[0])

    def with_classes(self, classes: int) -> "Classifier":
        """The same model with the number of classes."""
        return self.clone(classes=classes)

    def filled(self, vocab_size: int, context: int) -> "Classifier":
        """As of `OverBody`; the body reads no more than a window."""
        return super().filled(vocab_size, min(context, self.window or context))

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from super().problems()
        if self.stride is not None and self.stride > (self.window or 0):
            yield (
                f"model.stride={self.stride} leaves out tokens between windows of "
                f"{self.window}: give a model.window, and no larger a stride."
            )
        if self.apart and self.window:
            yield "model.apart reads whole texts: leave model.window out."
