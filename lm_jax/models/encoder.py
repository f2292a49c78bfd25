"""The Transformer encoder: each token sees the whole text (Devlin et al. 2019)."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.models.block import NormAt, apply_blocks, block_multiplications
from lm_jax.models.dropout import dropout
from lm_jax.models.feedforward import MLP, FeedForward, activate
from lm_jax.models.initial import Initial, Normal
from lm_jax.models.linear import Dense
from lm_jax.models.moe import MoE
from lm_jax.models.norms import NORMS, Norm
from lm_jax.models.patterns import Full, Pattern, seen_from_both_sides
from lm_jax.models.positions import Learned, Positions
from lm_jax.models.problems import block_problems
from lm_jax.models.readout import embedding_table, readout


class Encoder(nn.Module):
    """A stack of blocks without a causal mask, with logits of each token.

    The defaults are BERT's. Features are sown as "features", "last"; the logits
    come from them by one more layer, a norm and the embedding.

    Attributes:
        layers: number of blocks.
        heads: number of attention heads; must divide the width.
        width: width of the residual stream.
        kv_heads: key and value heads, each serving heads/kv_heads query heads;
            None is one for each query head.
        positions: how the model knows where a token stands.
        attention: which tokens a token sees.
        softcap: largest score of attention; None has no limit.
        qk_norm: whether queries and keys have unit root mean square.
        norm: "layer", "rms" or "none".
        norm_at: where it stands: "pre", "post" or "both" sides of each half.
        parallel: whether both halves of a block read the same.
        feedforward: the position-wise half of a block.
        dropout: rate after the embedding, on attention weights, on each half.
        use_bias: whether dense layers, norms and logits have biases.
        segment_types: kinds of sentence that tokens can belong to; 0 has none.
        initial: how large initial values are.
        scan: compile one block and loop over it.
        dtype: type to compute in; parameters stay float32.
        vocab_size: number of tokens; 0 takes the size of the tokenizer.
    """

    causal: ClassVar[bool] = False
    recurrent: ClassVar[bool] = False

    layers: int = 12
    heads: int = 12
    width: int = 768
    kv_heads: int | None = None
    positions: Positions = Learned()
    attention: Pattern = Full()
    softcap: float | None = None
    qk_norm: bool = False
    norm: Norm = "layer"
    norm_at: NormAt = "post"
    parallel: bool = False
    feedforward: FeedForward | MoE = MLP()
    dropout: float = 0.0
    use_bias: bool = True
    segment_types: int = 0
    initial: Initial = Normal()
    scan: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    vocab_size: int = 0

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        memory: None = None,
        noise: Key[Array, " batch"] | None = None,
        types: Int[Array, "batch time"] | None = None,
        places: Int[Array, "batch count"] | None = None,
    ) -> tuple[Float[Array, "batch read vocab"], None]:
        """Predict each token from the whole text.

        Args:
            tokens: what was read, perhaps with some hidden.
            positions: where each token stands; from 0 if None.
            segments: tokens see only tokens of the same segment; 0 is padding.
            memory: None: a token to come would change all that was computed.
            noise: one random key for each example switches dropout on.
            types: the kind of sentence that each token belongs to, where there
                are any; 0 if None.
            places: the tokens that logits are wanted of; all, if None.

        Returns:
            The logits, float32, and None.
        """
        embedding = embedding_table(self)
        seen = seen_from_both_sides(tokens.shape[1], positions, segments, noise)
        x = jnp.take(embedding, tokens, axis=0).astype(self.dtype)
        x = self.positions.embed(x, seen.positions)
        if self.segment_types:
            types = jnp.zeros_like(tokens) if types is None else types
            std = self.initial.std("embedding", 1, self.width, self.layers)
            normal = nn.initializers.normal(std)
            table = nn.Embed(
                self.segment_types, self.width, embedding_init=normal, name="types"
            )
            x = x + table(types).astype(x.dtype)
        if self.norm_at == "post":
            x = self._norm("embedding_norm")(x)
        x = dropout(x, self.dropout, noise, "embedding")
        x, _ = apply_blocks(self, x, None, seen)
        if self.norm_at != "post":
            x = self._norm("norm")(x)
        self.sow("features", "last", x)
        if places is not None:
            x = jnp.take_along_axis(x, places[..., None], axis=1)
        return self._logits(x, embedding), None

    def _logits(self, x: Array, embedding: Array) -> Array:
        """A dense layer, GELU, a norm and the embedding (Devlin et al. 2019, A.2)."""
        std = self.initial.std("hidden", self.width, self.width, self.layers)
        head = Dense(
            self.width, self.width, std, self.use_bias, self.dtype, name="head"
        )
        x = self._norm("head_norm")(activate("gelu", head(x)))
        logits = readout(self, x, embedding)
        if self.use_bias:
            bias = nn.initializers.zeros
            logits = logits + self.param("logits_bias", bias, (self.vocab_size,))
        return logits

    def _norm(self, name: str) -> nn.Module:
        return NORMS[self.norm](self.use_bias, self.dtype, name=name)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from block_problems(self)
        if self.segment_types < 0:
            yield f"model.segment_types={self.segment_types} must be 0 or more."

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token, forward and backward.

        Six for each kernel entry, and for each of width scores and mixed values
        of the tokens that are seen; a bound where not all tokens have logits.
        """
        blocks = self.layers * block_multiplications(self, context, causal=False)
        return 6.0 * (blocks + self.width * (self.width + self.vocab_size))
