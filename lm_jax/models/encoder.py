"""The Transformer encoder: each token sees the whole text (Devlin et al. 2019)."""

from collections.abc import Iterator
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.models.block import apply_blocks
from lm_jax.models.config import NormAt
from lm_jax.models.feedforward import Activation, activate, activation_problems
from lm_jax.models.initial import Initial, Normal
from lm_jax.models.patterns import shared_from_both_sides
from lm_jax.models.stack import Stack

__all__ = ["Encoder"]


class Encoder(Stack):
    """A stack of blocks without a causal mask, with logits of each token.

    The defaults are BERT's. The logits come from the features by one more layer, a
    norm and the embedding.

    Attributes:
        segment_types: kinds of sentence that tokens can belong to; 0 has none.
        head_activation: what bends in the layer before the logits; "gelu_exact" in
            Google's BERT.
    """

    causal: ClassVar[bool] = False

    norm_at: NormAt = "post"
    use_bias: bool = True
    initial: Initial = Normal()
    embedding_norm: bool = True
    logit_bias: bool = True
    segment_types: int = within("[0, 2147483647]", 0)
    head_activation: Activation = "gelu"

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        types: Int[Array, "batch time"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], None]:
        """Read a text: a vector of each token.

        Args:
            tokens: what was read, perhaps with some hidden.
            positions: where each token stands; from 0 if None.
            segments: tokens see only tokens of the same segment; 0 is padding.
            cache: None: a token to come would change all that was computed.
            dropout_keys: one random key for each example switches dropout on.
            types: the kind of sentence that each token belongs to, where there
                are any; 0 if None.

        Returns:
            The features, and None.
        """
        time = tokens.shape[1]
        shared = shared_from_both_sides(time, positions, segments, dropout_keys)
        more = self._typed(jnp.zeros_like(tokens) if types is None else types)
        x = self.embed(tokens, shared, more=more)
        x, _ = apply_blocks(self.config, x, None, shared)
        return x if self.norm_at == "post" else self.normalise(x, "norm"), None

    def _typed(self, types: Array) -> Array | None:
        """The vector of each token's kind of sentence, where there are any."""
        if not self.segment_types:
            return None
        std = self.initial.std("embedding", 1, self.width, self.layers)
        normal = nn.initializers.normal(std)
        table = nn.Embed(
            self.segment_types, self.width, embedding_init=normal, name="types"
        )
        return table(types)

    def setup(self):
        """Declare both ends, and the layer before the logits."""
        super().setup()
        self.head = self.dense(self.width, self.width, "hidden", None)
        self.head_norm = self.new_norm(None)
        self.pooler = self.dense(self.width, self.width, "hidden", None)
        self.pair_head = self.dense(self.width, 2, "hidden", None)

    def logits(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch time vocab"]:
        """A dense layer, GELU, a norm and the embedding (Devlin et al. 2019, A.2)."""
        bent = activate(self.head_activation, self.head(hidden))
        return super().logits(self.head_norm(bent))

    def pooled(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch width"]:
        """One vector of a text: a dense layer and tanh of its first token (BERT).

        The layer has parameters where this is called when they are made.
        """
        first = self.pooler(hidden[:, 0]).astype(jnp.float32)
        return jnp.tanh(first).astype(hidden.dtype)

    def pair_logits(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch 2"]:
        """Score, float32, that a second text follows the first, and that it doesn't.

        One layer from `pooled` (Devlin et al. 2019, 3.1, task 2). It has parameters
        where this is called when they are made.
        """
        return self.pair_head(self.pooled(hidden), jnp.float32)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from super().problems()
        yield from activation_problems("model.head_activation", self.head_activation)

    def flops_per_token(self, context: int) -> float:
        """As of a decoder, and the head: a bound where not all tokens have logits."""
        return super().flops_per_token(context) + 6.0 * self.width**2
