"""A class, or a number, of a text, from the vectors that any body gives its tokens."""

from collections.abc import Iterator
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.models.dropout import dropout
from lm_jax.models.encoder import Encoder
from lm_jax.models.linear import Dense
from lm_jax.models.model import Model, lacking
from lm_jax.models.pooling import Mean, Pool
from lm_jax.models.transformer import Transformer

__all__ = ["Classifier"]

READS = {"features": ("positions", "segments", "dropout_keys")}


class Classifier(Model):
    """A body, what makes one vector of its features, and one layer.

    The body's parameters keep their paths, so that a run begins with those of a run
    of the body alone; the layer's are ``class_head``.

    Attributes:
        body: a model with features of each token.
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

    causal: ClassVar[None] = None

    body: Model = Transformer()
    pool: Pool = Mean()
    dropout: float = within("[0, 1)", 0.0)
    classes: int = within("[0, 2147483647]", 0)
    window: int | None = within(SIZES, None)
    stride: int | None = within(SIZES, None)
    apart: bool = False

    def __post_init__(self) -> None:
        """Take what only makes logits of tokens out of the body."""
        object.__setattr__(self, "body", self.body.without_logits())
        super().__post_init__()

    def setup(self):
        """Declare the layer beside the body's own parameters, not above them."""
        nn.share_scope(self, self.body)

    @nn.compact
    def class_logits(
        self, vector: Float[Array, "batch width"]
    ) -> Float[Array, "batch classes"]:
        """Score each class, float32, from features."""
        inputs, outputs = vector.shape[-1], self.classes or 1
        sizes = inputs, outputs, inputs**-0.5, True, vector.dtype
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
        real, types = segments > 0, None
        if isinstance(self.body, Encoder) and self.body.segment_types > 1:
            types = (segments == 2).astype(jnp.int32)
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

    def _hidden(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        texts: tuple[Bool[Array, "batch time"], ...],
        dropout_keys: Key[Array, " batch"] | None,
        types: Int[Array, "batch time"] | None = None,
    ) -> Float[Array, "batch time width"]:
        """Give the body's features; a text's positions begin with it, not its row."""
        places = (jnp.where(real, jnp.cumsum(real, axis=1) - 1, 0) for real in texts)
        positions = sum(places, start=jnp.zeros_like(tokens))
        given = {"positions": positions, "segments": segments}
        if types is not None:
            given["types"] = types
        hidden, _ = self.body.features(tokens, **given, dropout_keys=dropout_keys)
        return hidden.astype(jnp.float32)

    def _in_windows(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        dropout_keys: Key[Array, " batch"] | None,
    ) -> Float[Array, "batch width"]:
        """Give the mean over windows, of those that have a token of their own."""
        window, stride = self.window or 1, self.stride or self.window or 1
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

    def with_body(self, body: Model) -> "Classifier":
        """The same model around another body."""
        return self.clone(body=body)

    @property
    def dtype(self) -> str:
        """Type that the body computes in."""
        return getattr(self.body, "dtype", "float32")

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: the body's."""
        return self.body.vectors()

    def filled(self, vocab_size: int, context: int) -> "Classifier":
        """The same model with what only the data knows.

        Raises:
            ValueError: the body can't read so many tokens, or has other tokens.
        """
        if self.body.vocab_size not in (0, vocab_size):
            raise ValueError(
                f"model.body.vocab_size is {self.body.vocab_size}, and the tokenizer "
                f"has {vocab_size} tokens. Leave it out: it is taken from the data."
            )
        body = self.body.filled(vocab_size, min(context, self.window or context))
        return self.clone(vocab_size=vocab_size, body=body)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        kind = type(self.body).__name__
        if self.body.causal is None or lacking(self.body, READS):
            yield (
                f"model.body={kind} gives no vector of each token of a text: a "
                "classifier has a Transformer, Encoder, Recurrent, BiRecurrent, "
                "GatedConv or BagOfVectors for a body. ConvEncoder is one itself."
            )
            return
        if self.stride is not None and self.stride > (self.window or 0):
            yield (
                f"model.stride={self.stride} leaves out tokens between windows of "
                f"{self.window}: give a model.window, and no larger a stride."
            )
        if self.apart and self.window:
            yield "model.apart reads whole texts: leave model.window out."
        for problem in self.body.problems():
            yield problem.replace("model.", "model.body.")

    def flops_per_token(self, context: int) -> float | None:
        """As of the body, which makes no logits of tokens."""
        # Without a vocabulary they cost nothing.
        return self.body.clone(vocab_size=0).flops_per_token(context)
