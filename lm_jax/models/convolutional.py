"""The gated convolutional language model (Dauphin et al. 2017)."""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.placement import constrain
from lm_jax.kernels.product import product_of_transpose
from lm_jax.models.dropout import dropout, part_keys
from lm_jax.models.dtype import Dtype, array_dtype, dtype_problems
from lm_jax.models.initial import FanIn
from lm_jax.models.linear import Dense
from lm_jax.models.model import Model

__all__ = ["GatedConv"]

Past = Float[Array, "batch past narrow"]
Carry = tuple[Past, ...]


def windows(
    x: Float[Array, "batch tokens width"], size: int
) -> Float[Array, "batch places window"]:
    """Give each ``size`` successive vectors as one of size * width, oldest first.

    A convolution is one product of these with a matrix. With its gradients this
    takes as long as XLA's own in float32 and a third of it in bfloat16 (8.5 and
    3.2 ms against 7.7 and 8.5; batch 12, time 64, width 128, kernel 4, two Sapphire
    Rapids cores, jax 0.12).
    """
    places = x.shape[1] - size + 1
    return jnp.concatenate([x[:, k : k + places] for k in range(size)], axis=-1)


class Reach(NamedTuple):
    """What convolutions see of a row with several texts or padding.

    Rows are counted with the kernel - 1 vectors of the past before them.

    Attributes:
        seen: whether what stands in a token's window is of its own text.
        last: where the past of the next tokens stands.
        kept: whether it is of the last text.
    """

    seen: Bool[Array, "batch time kernel"]
    last: Int[Array, "batch past"]
    kept: Bool[Array, "batch past"]


def reach_of(segments: Int[Array, "batch time"], kernel: int) -> Reach:
    """Tell texts apart where the segment changes; segment 0 is padding.

    The past is of the same text as a row's first token.
    """
    changes = jnp.cumsum(segments[:, 1:] != segments[:, :-1], axis=1)
    texts = jnp.pad(changes, ((0, 0), (kernel, 0)))
    time = segments.shape[1]
    window = jnp.arange(time)[:, None] + jnp.arange(kernel)
    seen = texts[:, window] == texts[:, kernel - 1 :, None]
    ends = ((segments > 0) * jnp.arange(1, time + 1)).max(axis=1)
    last = ends[:, None] + jnp.arange(kernel - 1)
    of = jnp.take_along_axis(texts, last, axis=1)
    return Reach(seen, last, of == of[:, -1:])


class GatedLinearUnit(nn.Module):
    """h(X) = (X W + b) * sigmoid(X V + c) (Dauphin et al. 2017, eq. 1).

    Attributes:
        inputs, features: width of what comes in and goes out.
        std: of the initial values of W and V.
        dtype: type to compute in.
    """

    inputs: int
    features: int
    std: float
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time inputs"]
    ) -> Float[Array, "batch time features"]:
        """Gate one product by another."""
        sizes = (self.inputs, self.features, self.std, True, self.dtype)
        value, gate = Dense(*sizes, name="value")(x), Dense(*sizes, name="gate")(x)
        return value * jax.nn.sigmoid(gate)


class ConvBlock(nn.Module):
    """x + h(x), where h is a causal convolution, perhaps in a bottleneck.

    Attributes: as of `GatedConv`.
    """

    layers: int
    width: int
    kernel: int
    bottleneck: int | None
    dropout: float
    initial: FanIn
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        past: Past,
        reach: Reach | None,
        dropout_keys: Key[Array, " batch"] | None,
    ) -> tuple[Float[Array, "batch time width"], Past]:
        """Add to each token what it sees of the kernel - 1 before it.

        Args:
            x: the residual stream.
            past: what the convolution read before.
            reach: what it sees of x and the past; None is all.
            dropout_keys: of dropout, one for each example.

        Returns:
            The residual stream, and the past of the next tokens.
        """
        narrow = self.bottleneck or self.width
        h = self._gated(x, narrow, "narrow") if self.bottleneck else x
        h = jnp.concatenate([past, h], axis=1)
        last = h[:, -past.shape[1] :]
        window = windows(h, self.kernel)
        if reach is not None:
            parts = window.reshape(*window.shape[:2], self.kernel, narrow)
            window = jnp.where(reach.seen[..., None], parts, 0).reshape(window.shape)
            last = jnp.take_along_axis(h, reach.last[..., None], axis=1)
            last = jnp.where(reach.kept[..., None], last, 0)
        h = self._gated(window, narrow, "convolution", not self.bottleneck)
        if self.bottleneck:
            h = self._gated(h, self.width, "widen", True)
        x = x + dropout(h, self.dropout, dropout_keys, "block")
        return constrain(x, "batch", "time", "width"), last

    def _gated(
        self, x: Array, features: int, name: str, residual: bool = False
    ) -> Array:
        role = "residual" if residual else "hidden"
        std = self.initial.std(role, x.shape[-1], self.width, self.layers)
        # A gate is about 1/2 at first: twice the values keep the variance
        # (Gehring et al. 2017, 3.5).
        unit = GatedLinearUnit(x.shape[-1], features, 2 * std, self.dtype, name=name)
        return unit(x)


class GatedConv(Model):
    """The gated convolutional language model (Dauphin et al. 2017).

    A token sees the layers * (kernel - 1) tokens before it. Its cache is what
    each convolution read last: its size doesn't grow with the text.

    Attributes:
        layers: number of residual blocks.
        width: width of the residual stream.
        kernel: tokens that a convolution reads at once, the newest included.
        bottleneck: width of the convolution within a block, between two gated
            layers of kernel 1 (the paper's table 1); None is ``width``, without
            those layers.
        dropout: rate after the embedding and on what each block adds.
        tied: whether the embedding also makes the logits.
        dtype: type to compute in; parameters stay float32.
    """

    recurrent: ClassVar[bool] = True
    initial: ClassVar[FanIn] = FanIn()

    layers: int = within(SIZES, 8)
    width: int = within(SIZES, 512)
    kernel: int = within(SIZES, 4)
    bottleneck: int | None = within(SIZES, None)
    dropout: float = within("[0, 1)", 0.0)
    tied: bool = False
    dtype: Dtype = "float32"

    def setup(self):
        """Declare the embedding and the logits' kernel."""
        std, layers = self.initial.std, self.layers
        normal = nn.initializers.normal(std("embedding", 1, self.width, layers))
        shape = (self.vocab_size, self.width)
        self.embedding = self.param("embedding", normal, shape)
        if not self.tied:
            of_logits = std("lm_head", self.width, self.width, layers)
            self.lm_head = Dense(
                self.width, self.vocab_size, of_logits, dtype=array_dtype(self.dtype)
            )

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
            segments: nothing before is seen where the segment changes; segment
                0 is padding at the end of a row, and not remembered.
            cache: of the tokens before, by `empty_cache`; of none if None.
            dropout_keys: one random key for each example switches dropout on.

        Returns:
            The features, and what is left of these tokens (None if no cache was
            given).
        """
        x = jnp.take(self.whole("embedding", "lookup"), tokens, axis=0)
        x = constrain(x.astype(array_dtype(self.dtype)), "batch", "time", "width")
        x = dropout(x, self.dropout, dropout_keys, "embedding")
        reach = None if segments is None else reach_of(segments, self.kernel)
        after = []
        before = cache or self.empty_cache(tokens.shape[0], 0)
        for index, past in enumerate(before):
            block = ConvBlock(
                layers=self.layers,
                width=self.width,
                kernel=self.kernel,
                bottleneck=self.bottleneck,
                dropout=self.dropout,
                initial=self.initial,
                dtype=array_dtype(self.dtype),
                name=f"block_{index}",
            )
            x, past = block(x, past, reach, part_keys(dropout_keys, index))
            after.append(past)
        return x, None if cache is None else tuple(after)

    def logits(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch time vocab"]:
        """Score each token of the vocabulary, float32, from features."""
        if self.tied:
            kernel = jnp.asarray(self.whole("embedding"), array_dtype(self.dtype))
            logits = product_of_transpose(hidden, kernel, jnp.float32)
        else:
            logits = self.lm_head(hidden, jnp.float32)
        return constrain(logits, "batch", "time", "vocab")

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: the embedding."""
        return self.embedding

    def empty_cache(self, batch: int, slots: int) -> Carry:
        """Zeros, which stand before a text too, whatever the slots.

        Args:
            batch: number of rows.
            slots: taken for the sake of other models, and not looked at.
        """
        shape = (batch, self.kernel - 1, self.bottleneck or self.width)
        return tuple(
            jnp.zeros(shape, array_dtype(self.dtype)) for _ in range(self.layers)
        )

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from dtype_problems(self.dtype)
        if self.kernel < 2:
            yield "model.kernel=1 sees no other token: give 2 or more."

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token: six a kernel entry."""
        narrow = self.bottleneck or self.width
        block = 2 * self.kernel * narrow * narrow
        if self.bottleneck:
            block += 4 * self.width * narrow
        return 6.0 * (self.layers * block + self.width * self.vocab_size)
