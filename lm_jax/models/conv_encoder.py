"""The convolutional sentence encoder (Kim 2014)."""

from collections.abc import Iterator
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.placement import constrain, gathered
from lm_jax.models.convolutional import windows
from lm_jax.models.dropout import dropout
from lm_jax.models.dtype import Dtype, array_dtype, dtype_problems
from lm_jax.models.linear import Dense
from lm_jax.models.model import Model

__all__ = ["ConvEncoder"]


class ConvEncoder(Model):
    """A vector, or a class, for a sentence (Kim 2014).

    Attributes:
        width: of the embedded tokens.
        kernels: tokens that a filter reads at once, for each kind of filter.
        maps: filters of each kind.
        wide: whether filters read zeros before a sentence and after it too, and so
            where it begins (Kim's program does; Kalchbrenner et al. 2014, 3.2).
        dropout: rate on the sentence's vector.
        classes: classes to tell apart; 0 takes those of the data.
        dtype: type to compute in; parameters stay float32.
    """

    causal: ClassVar[None] = None

    width: int = within(SIZES, 300)
    kernels: tuple[int, ...] = within(SIZES, (3, 4, 5))
    maps: int = within(SIZES, 100)
    wide: bool = False
    dropout: float = within("[0, 1)", 0.5)
    classes: int = within("[0, 2147483647]", 0)
    dtype: Dtype = "float32"

    def setup(self):
        """Declare the layer from the vector to the classes."""
        if self.classes:
            inputs = len(self.kernels) * self.maps
            sizes = inputs, self.classes, inputs**-0.5
            self.lm_head = Dense(*sizes, True, array_dtype(self.dtype))

    def __call__(
        self, tokens: Int[Array, "batch time"], *args: Any, **kwargs: Any
    ) -> Float[Array, "batch features"]:
        """Give the logits of the classes; the vectors, where there are no classes."""
        vector, _ = self.features(tokens, *args, **kwargs)
        return self.class_logits(vector) if self.classes else vector

    def class_logits(
        self, vector: Float[Array, "batch features"]
    ) -> Float[Array, "batch classes"]:
        """Score each class, float32, from features."""
        return self.lm_head(vector, jnp.float32)

    def with_classes(self, classes: int) -> "ConvEncoder":
        """The same model with the number of classes."""
        return self.clone(classes=classes)

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"] | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch features"], None]:
        """Take the largest answer of each filter over the sentence.

        A sentence shorter than a filter is read with zeros after it.

        Args:
            tokens: a sentence a row.
            segments: 0 is padding, at the end of a row.
            dropout_keys: one random key for each example switches dropout on.

        Returns:
            The vectors, float32, as many entries as filters; and None.
        """
        # Uniform as in the paper, 3.1.
        uniform = nn.initializers.uniform(0.5)
        shape = (self.vocab_size, self.width)
        table = self.param("embedding", lambda key: uniform(key, shape) - 0.25)
        dtype = array_dtype(self.dtype)
        rows = gathered(table, (*self.path, "embedding"), dtype, "lookup")
        x = jnp.take(rows, tokens, axis=0).astype(dtype)
        x = constrain(x, "batch", "time", "width")
        real = jnp.ones_like(tokens) if segments is None else (segments > 0)
        x = jnp.where(real[..., None] > 0, x, 0)
        lengths = real.sum(axis=1, keepdims=True)
        pooled = [self._largest(x, lengths, kernel) for kernel in self.kernels]
        vector = dropout(
            jnp.concatenate(pooled, -1), self.dropout, dropout_keys, "vector"
        )
        return vector.astype(jnp.float32), None

    def _largest(
        self,
        x: Float[Array, "batch time width"],
        lengths: Int[Array, "batch 1"],
        kernel: int,
    ) -> Float[Array, "batch maps"]:
        """Give max_t ReLU(W x_{t:t+kernel} + b) (eq. 2)."""
        before = kernel - 1 if self.wide else 0
        window = windows(jnp.pad(x, ((0, 0), (before, kernel - 1), (0, 0))), kernel)
        inputs = window.shape[-1]
        std = (2 / inputs) ** 0.5  # He et al. 2015, eq. 10.
        filters = Dense(inputs, self.maps, std, True, x.dtype, name=f"filters_{kernel}")
        last = lengths - 1 + before if self.wide else jnp.maximum(lengths - kernel, 0)
        inside = jnp.arange(window.shape[1]) <= last
        return jnp.where(inside[..., None], jax.nn.relu(filters(window)), 0).max(axis=1)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        if not self.kernels:
            yield "model.kernels=() reads nothing: give one size or more."
        yield from dtype_problems(self.dtype)
        if len(set(self.kernels)) < len(self.kernels):
            yield (
                f"model.kernels={self.kernels} names a size twice; raise model.maps "
                "for more filters."
            )

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token: six a kernel entry."""
        filters = sum(self.kernels) * self.width * self.maps
        logits = len(self.kernels) * self.maps * self.classes / context
        return 6.0 * (filters + logits)
