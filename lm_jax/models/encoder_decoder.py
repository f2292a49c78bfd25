"""Encoder and decoder: text from another text (Vaswani et al. 2017)."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.models.block import (
    NormAt,
    apply_blocks,
    block_multiplications,
    empty_memories,
)
from lm_jax.models.dropout import dropout, part_keys
from lm_jax.models.feedforward import MLP, FeedForward
from lm_jax.models.initial import GPT2, Initial
from lm_jax.models.moe import MoE
from lm_jax.models.norms import NORMS, Norm
from lm_jax.models.patterns import (
    Full,
    Pattern,
    causally_seen,
    seen_from_both_sides,
)
from lm_jax.models.positions import Positions, Sinusoidal
from lm_jax.models.problems import block_problems
from lm_jax.models.readout import capped, embedding_table, readout


class EncoderDecoder(nn.Module):
    """A stack that reads a source, and one that writes what follows from it.

    One embedding serves the source, the target and, if tied, the logits.

    Attributes:
        layers: number of blocks of the decoder.
        encoder_layers: number of blocks of the encoder; None is ``layers``.
        heads: number of attention heads; must divide the width.
        width: width of the residual stream.
        kv_heads: key and value heads, each serving heads/kv_heads query heads;
            None is one for each query head.
        positions: how the model knows where a token stands, in either text.
        attention: which tokens of its own text a token sees.
        softcap: largest score of attention; None has no limit.
        qk_norm: whether queries and keys have unit root mean square.
        norm: "layer", "rms" or "none".
        norm_at: where it stands: "pre", "post" or "both" sides of each part.
        feedforward: the position-wise part of a block.
        dropout: rate after the embedding, on attention weights, on each part.
        use_bias: whether dense layers and norms have biases.
        tied: whether the embedding also makes the logits.
        logit_softcap: largest logit; None has no limit.
        initial: how large initial values are.
        scan: compile one block of each stack and loop over it.
        dtype: type to compute in; parameters stay float32.
        vocab_size: number of tokens; 0 takes the size of the tokenizer.
    """

    causal: ClassVar[bool] = True
    recurrent: ClassVar[bool] = False

    layers: int = 6
    encoder_layers: int | None = None
    heads: int = 8
    width: int = 512
    kv_heads: int | None = None
    positions: Positions = Sinusoidal()
    attention: Pattern = Full()
    softcap: float | None = None
    qk_norm: bool = False
    norm: Norm = "layer"
    norm_at: NormAt = "pre"
    feedforward: FeedForward | MoE = MLP(activation="relu")
    dropout: float = 0.0
    use_bias: bool = False
    tied: bool = True
    logit_softcap: float | None = None
    initial: Initial = GPT2()
    scan: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    vocab_size: int = 0

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        memory: Any = None,
        noise: Key[Array, " batch"] | None = None,
        source: Int[Array, "batch source_time"] | None = None,
        source_mask: Bool[Array, "batch source_time"] | None = None,
    ) -> tuple[Float[Array, "batch time vocab"], Any]:
        """Predict the token after each token of the target.

        Args:
            tokens: what was written.
            positions: where each of them stands; from 0 if None.
            segments: target tokens see only tokens of the same segment.
            memory: of `encode`, or of a call before: the source is then read
                from there, and ``source`` left out.
            noise: one random key for each example switches dropout on.
            source: what was read. Without one, and without a memory, the
                target is its own source.
            source_mask: true where the source has a token; all, if None.

        Returns:
            The logits, float32, and the memory with these tokens (or None). The
            features before the logits are sown as "features", "last".
        """
        embedding = embedding_table(self)
        if source is None and memory is None:
            source = tokens
        encoded = None
        if source is not None:
            if source_mask is None:
                source_mask = jnp.ones(source.shape, bool)
            encoded = self._encode(embedding, source, source_mask, noise)
        elif memory is not None:
            source_mask = memory["source_mask"]
        blocks = None if memory is None else memory["blocks"]
        slots = None if memory is None else jax.tree.leaves(blocks)[0].shape[-2]
        seen = causally_seen(tokens.shape[1], positions, segments, slots, noise)
        seen = seen._replace(source=encoded, source_mask=source_mask)
        x = self._embed(embedding, tokens, seen, "target")
        x, blocks = apply_blocks(self, x, blocks, seen, "decoder_block", cross=True)
        if self.norm_at != "post":
            x = self._norm("norm")(x)
        self.sow("features", "last", x)
        logits = capped(
            readout(self, x, embedding if self.tied else None), self.logit_softcap
        )
        if memory is not None:
            memory = {"blocks": blocks, "source_mask": source_mask}
        return logits, memory

    def encode(
        self,
        source: Int[Array, "batch source_time"],
        source_mask: Bool[Array, "batch source_time"] | None = None,
        slots: int = 512,
    ) -> Any:
        """Read a source once: the memory of a target of no token yet.

        Args:
            source: what is to be read.
            source_mask: true where it has a token; all, if None.
            slots: number of target tokens that can be remembered.
        """
        batch, time = source.shape
        memory = self.empty_memory(batch, slots, time)
        nothing = jnp.zeros((batch, 0), jnp.int32)
        return self(
            nothing, nothing, memory=memory, source=source, source_mask=source_mask
        )[1]

    def empty_memory(self, batch: int, slots: int, source_slots: int = 1) -> Any:
        """The memory before a source was read: of the shapes that `encode` gives.

        Args:
            batch: number of rows.
            slots: number of target tokens that can be remembered.
            source_slots: number of source tokens.
        """
        own = empty_memories(self, batch, slots)
        source = empty_memories(self, batch, source_slots)
        pairs: Any = {"own": own, "source": source}
        if not self.scan:
            both = zip(own, source, strict=True)
            pairs = tuple({"own": a, "source": b} for a, b in both)
        return {"blocks": pairs, "source_mask": jnp.zeros((batch, source_slots), bool)}

    def _encode(self, embedding, source, source_mask, noise):
        """Read the source from both sides."""
        noise = part_keys(noise, "encoder")
        segments = source_mask.astype(jnp.int32)
        seen = seen_from_both_sides(source.shape[1], None, segments, noise)
        x = self._embed(embedding, source, seen, "source")
        layers = self.encoder_layers or self.layers
        x, _ = apply_blocks(
            self, x, None, seen, "encoder_block", causal=False, layers=layers
        )
        return x if self.norm_at == "post" else self._norm("encoder_norm")(x)

    def _embed(self, embedding, tokens, seen, name):
        x = jnp.take(embedding, tokens, axis=0).astype(self.dtype)
        x = Placed(self.positions, name=name)(x, seen.positions)
        return dropout(x, self.dropout, seen.noise, "embedding")

    def _norm(self, name: str) -> nn.Module:
        return NORMS[self.norm](self.use_bias, self.dtype, name=name)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from block_problems(self)
        if self.encoder_layers is not None and self.encoder_layers < 1:
            yield f"model.encoder_layers={self.encoder_layers} must be 1 or more."

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on a token of source and of target.

        Six for each kernel entry, and for each of width scores and mixed values
        of the tokens that are seen. Both texts are taken to have ``context``
        tokens, so it is a bound where they are shorter, as in span corruption.
        """
        kv_width = self.width * (self.kv_heads or self.heads) // self.heads
        cross = 2 * self.width * (self.width + kv_width + context)
        decoder = block_multiplications(self, context) + cross
        encoder = block_multiplications(self, context, causal=False)
        blocks = self.layers * decoder + (self.encoder_layers or self.layers) * encoder
        return 6.0 * (blocks + self.width * self.vocab_size)


class Placed(nn.Module):
    """Embedded tokens with their positions, in a scope of its own.

    Attributes:
        positions: how they are told.
    """

    positions: Positions

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time width"], positions: Int[Array, "rows time"]
    ) -> Float[Array, "batch time width"]:
        """Say where each token stands."""
        return self.positions.embed(x, positions)
