"""Recurrent language models (Mikolov et al. 2010; Zaremba et al. 2014)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.placement import constrain, gathered
from lm_jax.kernels.product import product, product_of_transpose
from lm_jax.kernels.recurrence import run_cell
from lm_jax.kernels.threefry import bernoulli
from lm_jax.models.cells import LSTM, Cell
from lm_jax.models.dropout import dropout
from lm_jax.models.dtype import Dtype, array_dtype, dtype_problems
from lm_jax.models.model import Model

__all__ = ["Dropouts", "Recurrent"]

Carry = tuple[dict[str, Float[Array, "batch width"]], ...]


@dataclass(frozen=True)
class Dropouts:
    """Where a recurrent model drops, and how often.

    Attributes:
        input: rate on the embedded tokens.
        between: rate between two layers.
        output: rate on the last layer's output.
        embedding: rate of whole words of the embedding (Merity et al. 2018, 4.3).
        weight: rate on the recurrent matrices (Wan et al. 2013; Merity 4.1).
        variational: drop the same entries at every step of a segment in the
            first three (Gal and Ghahramani 2016).
    """

    input: float = within("[0, 1)", 0.0)
    between: float = within("[0, 1)", 0.0)
    output: float = within("[0, 1)", 0.0)
    embedding: float = within("[0, 1)", 0.0)
    weight: float = within("[0, 1)", 0.0)
    variational: bool = False


class RecurrentLayer(nn.Module):
    """One cell over a segment of text.

    Attributes:
        cell: what happens in a step.
        inputs, width: of what comes in and goes out.
        range: initial values are uniform in [-range, range].
        weight_dropout: rate on the recurrent matrix.
        dtype: type of the products.
    """

    cell: Cell
    inputs: int
    width: int
    range: float
    weight_dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        state: dict[str, Float[Array, "batch width"]],
        kept: Float[Array, "time batch 1"] | None,
        read: Float[Array, "time batch 1"] | None,
    ) -> tuple[Float[Array, "batch time width"], dict[str, Array]]:
        """Run over x from a state; see `run_cell` for ``kept`` and ``read``."""
        gates = self.cell.gates * self.width

        def uniform(name, shape):
            def make(key):
                return jax.random.uniform(
                    key, shape, minval=-self.range, maxval=self.range
                )

            return self.param(name, make)

        def kernel_of(name, inputs):
            made = uniform(name, (inputs, gates))
            return gathered(made, (*self.path, name), self.dtype, "whole")

        kernel = kernel_of("input_kernel", self.inputs).astype(self.dtype)
        recurrent = kernel_of("recurrent_kernel", self.width)
        bias = uniform("bias", (gates,))
        two = self.cell.biases == 2
        again = uniform("recurrent_bias", (gates,)) if two else None
        recurrent = dropout_shared(self, recurrent, self.weight_dropout)
        projected = product(jnp.swapaxes(x, 0, 1).astype(self.dtype), kernel)
        projected = constrain(projected, "time", "batch")
        hidden, after = run_cell(
            self.cell,
            recurrent.astype(self.dtype),
            again,
            projected.astype(jnp.float32) + bias,
            tuple(state[name] for name in self.cell.states),
            kept,
            read,
        )
        hidden = constrain(hidden, "time", "batch")
        last = dict(zip(self.cell.states, after, strict=True))
        return jnp.swapaxes(hidden, 0, 1).astype(self.dtype), last


class Recurrent(Model):
    """Recurrent layers between an embedding and the logits of the next token.

    Attributes:
        cell: Elman, LSTM or GRU.
        layers: number of layers.
        width: units of each layer.
        embedding_width: of the embedded tokens; None is ``width``.
        tied: whether the embedding also makes the logits (Press and Wolf 2017;
            Inan et al. 2017); the last layer then has the embedding's width.
        dropout: where and how often entries are dropped.
        activation_penalty: weight of the mean square of the last layer's
            dropped output (AR of Merity et al. 2017).
        change_penalty: weight of the mean squared change of its output from
            one step to the next (TAR, ibid.).
        range: the embedding and the logits' kernel start uniform within this.
        cell_range: the layers start uniform within this; None is
            1/sqrt(a layer's width), PyTorch's.
        dtype: type of the products; parameters and states stay float32.
        headless: whether nothing is declared that only logits need.
    """

    cell: Cell = LSTM()
    layers: int = within(SIZES, 2)
    width: int = within(SIZES, 200)
    embedding_width: int | None = within(SIZES, None)
    tied: bool = False
    dropout: Dropouts = Dropouts()
    activation_penalty: float = within("[0, inf)", 0.0)
    change_penalty: float = within("[0, inf)", 0.0)
    range: float = within("[0, inf)", 0.1)
    cell_range: float | None = within("[0, inf)", None)
    dtype: Dtype = "float32"
    headless: bool = field(default=False, metadata={"part": "set up"})

    recurrent = True
    sequential = True

    def setup(self):
        """Declare the embedding, and what makes the logits."""
        self.embedding = self.param("embedding", self._uniform, self._table_shape)
        if self.headless:
            return
        zeros = nn.initializers.zeros
        self.lm_head_bias = self.param("lm_head_bias", zeros, (self.vocab_size,))
        if not self.tied:
            shape = (self.widths[-1], self.vocab_size)
            self.lm_head_kernel = self.param("lm_head_kernel", self._uniform, shape)

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "rows time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: Carry | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], Carry | None]:
        """Read tokens: a vector of each, from which the next one is predicted.

        Args:
            tokens: what was read.
            positions: taken for the sake of other models, and not looked at.
            segments: the state is cleared where the segment changes; segment 0
                is padding and leaves it as it was.
            cache: the state before these tokens, by `empty_cache`; zeros if
                None.
            dropout_keys: one random key for each example switches dropout on. What
                all examples share (weights, words) is dropped by Flax's random
                stream "shared".

        Returns:
            The last layer's output, and the state after these tokens (None if none
            was given).
        """
        x = self._embedded(tokens, dropout_keys)
        kept, read = masks_of(segments)
        carry = []
        for index, state in enumerate(cache or self.empty_cache(len(tokens), 0)):
            x = self._between(x, index, dropout_keys)
            layer = self._layer(index, x.shape[-1], f"layer_{index}")
            x, state = layer(x, state, kept, read)
            carry.append(state)
        hidden = self._dropped(x, self.dropout.output, dropout_keys, "output")
        if dropout_keys is not None:
            self._sow_penalties(x, hidden, read)
        return hidden, None if cache is None else tuple(carry)

    def _embedded(
        self, tokens: Int[Array, "batch time"], dropout_keys: Any
    ) -> Float[Array, "batch time width"]:
        """What the first layer reads."""
        words = dropout_shared(
            self, jnp.ones((self.vocab_size, 1)), self.dropout.embedding
        )
        table = self.whole("embedding", "lookup")
        x = jnp.take(table, tokens, axis=0) * jnp.take(words, tokens, axis=0)
        x = constrain(x.astype(array_dtype(self.dtype)), "batch", "time", "width")
        return self._dropped(x, self.dropout.input, dropout_keys, "input")

    def _between(self, x: Array, index: int, dropout_keys: Any) -> Array:
        """What a layer reads of the one below it."""
        if not index:
            return x
        rate = self.dropout.between
        return self._dropped(x, rate, dropout_keys, f"layer {index}")

    def _layer(self, index: int, inputs: int, name: str) -> RecurrentLayer:
        """Declare a layer."""
        return RecurrentLayer(
            cell=self.cell,
            inputs=inputs,
            width=self.widths[index],
            range=self._cell_range(index),
            weight_dropout=self.dropout.weight,
            dtype=array_dtype(self.dtype),
            name=name,
        )

    def logits(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch time vocab"]:
        """Score each token of the vocabulary, float32, from features."""
        if self.tied:
            kernel = jnp.asarray(self.whole("embedding"), array_dtype(self.dtype))
            logits = product_of_transpose(hidden, kernel, jnp.float32)
        else:
            kernel = jnp.asarray(self.whole("lm_head_kernel"), array_dtype(self.dtype))
            logits = product(hidden, kernel, jnp.float32)
        return constrain(logits + self.lm_head_bias, "batch", "time", "vocab")

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: the embedding."""
        return self.embedding

    @property
    def widths(self) -> list[int]:
        """Units of each layer; a tied model's last has the embedding's."""
        last = (self.embedding_width or self.width) if self.tied else self.width
        return [self.width] * (self.layers - 1) + [last]

    def _cell_range(self, index: int) -> float:
        if self.cell_range is None:
            return self.widths[index] ** -0.5
        return self.cell_range

    @property
    def _table_shape(self) -> tuple[int, int]:
        return self.vocab_size, self.embedding_width or self.width

    def _uniform(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(key, shape, minval=-self.range, maxval=self.range)

    def _dropped(self, x: Array, rate: float, dropout_keys: Any, name: str) -> Array:
        if not self.dropout.variational:
            return dropout(x, rate, dropout_keys, name)
        ones = jnp.ones((x.shape[0], 1, x.shape[2]), x.dtype)
        return x * dropout(ones, rate, dropout_keys, name)

    def _sow_penalties(self, raw: Array, dropped: Array, read: Array | None) -> None:
        """Means over the tokens of each row that are read, not over padding."""
        raw, dropped = (part.astype(jnp.float32) for part in (raw, dropped))
        real = jnp.ones(raw.shape[:2]) if read is None else read[..., 0].T

        def mean(x: Array, real: Array) -> Array:
            squares = jnp.square(x).mean(-1) * real
            return squares.sum(-1) / jnp.maximum(real.sum(-1), 1.0)

        if self.activation_penalty:
            squares = mean(dropped, real)
            self.sow("penalties", "activation", self.activation_penalty * squares)
        if self.change_penalty:
            squares = mean(jnp.diff(raw, axis=1), real[:, 1:])
            self.sow("penalties", "change", self.change_penalty * squares)

    def empty_cache(self, batch: int, slots: int) -> Carry:
        """Zero states, whatever the slots: the state never grows.

        Args:
            batch: number of rows.
            slots: taken for the sake of other models, and not looked at.
        """
        return tuple(
            {name: jnp.zeros((batch, width)) for name in self.cell.states}
            for width in self.widths
        )

    def without_logits(self) -> "Recurrent":
        """The same model without parameters that only its logits need."""
        return self if self.headless else self.clone(headless=True)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from dtype_problems(self.dtype)
        if self.cell.biases not in (1, 2):
            yield f"model.cell.biases={self.cell.biases} must be 1 or 2."

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token: six a kernel entry."""
        kernels, inputs = 0, self.embedding_width or self.width
        for width in self.widths:
            kernels += (inputs + width) * self.cell.gates * width
            inputs = width
        return 6.0 * (kernels + inputs * self.vocab_size)


def dropout_shared(
    module: nn.Module, x: Float[Array, "..."], rate: float
) -> Float[Array, "..."]:
    """Drop entries of what all examples share, by the random stream "shared".

    The same entries are dropped in all parts of a batch, so accumulation and
    sharding change nothing.
    """
    if rate == 0.0 or not module.has_rng("shared"):
        return x
    kept = bernoulli(module.make_rng("shared"), 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), 0.0)


def masks_of(
    segments: Int[Array, "batch time"] | None,
) -> tuple[Float[Array, "time batch 1"] | None, Float[Array, "time batch 1"] | None]:
    """Say where a state is kept and where a token is read, time first.

    The first token of a row keeps what was there before; where the segment
    changes the state is cleared; tokens of segment 0 are not read.
    """
    if segments is None:
        return None, None
    same = segments[:, 1:] == segments[:, :-1]
    kept = jnp.pad(same | (segments[:, 1:] == 0), [(0, 0), (1, 0)], constant_values=1)

    def time_first(mask):
        return jnp.swapaxes(mask, 0, 1)[..., None].astype(jnp.float32)

    return time_first(kept), time_first(segments > 0)
