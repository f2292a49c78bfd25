"""The Transformer decoder: a causal language model (Radford et al. 2018)."""

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.models.attention import Mixer
from lm_jax.models.block import (
    NormAt,
    apply_blocks,
    block_multiplications,
    empty_memories,
)
from lm_jax.models.dropout import dropout
from lm_jax.models.feedforward import MLP, FeedForward
from lm_jax.models.initial import GPT2, Initial
from lm_jax.models.moe import MoE
from lm_jax.models.norms import NORMS, Norm
from lm_jax.models.patterns import Full, Pattern, causally_seen
from lm_jax.models.positions import Learned, NoPositions, Positions
from lm_jax.models.problems import block_problems
from lm_jax.models.readout import capped, embedding_table, readout
from lm_jax.models.softmax import Softmax


class Transformer(nn.Module):
    """A stack of blocks between an embedding and the logits of the next token.

    Attributes:
        layers: number of blocks.
        heads: number of attention heads; must divide the width.
        width: width of the residual stream.
        kv_heads: key and value heads, each serving heads/kv_heads query heads;
            None is one for each query head.
        positions: how the model knows where a token stands.
        mixer: how tokens take from those before: by softmax attention, or by a
            state of constant size.
        attention: which tokens a token sees.
        softcap: largest score of attention; None has no limit.
        qk_norm: whether queries and keys have unit root mean square in each head
            (Henry et al. 2020).
        norm: "layer", "rms" or "none".
        norm_at: where it stands: "pre", before each half of a block and at the
            end; "post", after each sum (Vaswani et al. 2017); "both", before and
            after each half and at the end (Gemma Team 2024).
        parallel: whether both halves of a block read the same (Wang and
            Komatsuzaki 2021, GPT-J), not one after the other.
        feedforward: the position-wise half of a block.
        dropout: rate after the embedding, on attention weights, on each half.
        use_bias: whether dense layers and norms have biases.
        tied: whether the embedding also makes the logits.
        logit_softcap: largest logit; None has no limit.
        initial: how large initial values are.
        scan: compile one block and loop over it: compile time then does not
            grow with depth. Same values either way.
        dtype: type to compute in; parameters stay float32.
        vocab_size: number of tokens; 0 takes the size of the tokenizer.
    """

    causal: ClassVar[bool] = True

    layers: int = 12
    heads: int = 12
    width: int = 768
    kv_heads: int | None = None
    positions: Positions = Learned()
    mixer: Mixer = Softmax()
    attention: Pattern = Full()
    softcap: float | None = None
    qk_norm: bool = False
    norm: Norm = "layer"
    norm_at: NormAt = "pre"
    parallel: bool = False
    feedforward: FeedForward | MoE = MLP()
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
    ) -> tuple[Float[Array, "batch time vocab"], Any]:
        """Predict the token after each token.

        Args:
            tokens: what was read.
            positions: where each token stands; from 0 if None.
            segments: tokens see only tokens of the same segment. With a memory,
                segment 0 is padding, of which nothing is remembered.
            memory: what is left of the tokens before, by `empty_memory`.
            noise: one random key for each example switches dropout on.

        Returns:
            The logits, float32, and the memory with these tokens (or None). The
            features before the logits are sown as "features", "last".
        """
        # A mixer without slots reads no mask.
        slots = None if memory is None else jax.tree.leaves(memory)[0].shape[-2]
        seen = causally_seen(tokens.shape[1], positions, segments, slots, noise)
        embedding = embedding_table(self)
        x = jnp.take(embedding, tokens, axis=0).astype(self.dtype)
        x = self.positions.embed(x, seen.positions)
        x = dropout(x, self.dropout, noise, "embedding")
        x, memory = apply_blocks(self, x, memory, seen)
        if self.norm_at != "post":
            x = NORMS[self.norm](self.use_bias, self.dtype, name="norm")(x)
        self.sow("features", "last", x)
        logits = readout(self, x, embedding if self.tied else None)
        return capped(logits, self.logit_softcap), memory

    def empty_memory(self, batch: int, slots: int) -> Any:
        """What is remembered of no token yet: stacked if scanned, else one a layer.

        Args:
            batch: number of rows.
            slots: number of tokens that can be remembered; a recurrent model
                has one size for all.
        """
        return empty_memories(self, batch, slots)

    @property
    def recurrent(self) -> bool:
        """Whether the memory has one size, and the text no limit."""
        return self.mixer != Softmax() and self.positions == NoPositions()

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from block_problems(self)

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token, forward and backward.

        Six for each kernel entry, and six for each of width scores and mixed
        values of the context/2 tokens that causal attention sees on average
        (Kaplan et al. 2020, 2.1, with attention counted at half).
        """
        block = block_multiplications(self, context)
        return 6.0 * (self.layers * block + self.width * self.vocab_size)


def stack_blocks(params: dict) -> dict:
    """Turn unrolled parameters (block_0, block_1, ...) into scanned ones (blocks)."""
    stacks: dict[str, list] = {}
    for name in sorted(params, key=lambda name: (len(name), name)):
        if found := re.fullmatch(r"(.*block)_\d+", name):
            stacks.setdefault(f"{found[1]}s", []).append(params[name])
    rest = {k: v for k, v in params.items() if not re.fullmatch(r".*block_\d+", k)}
    stacked = {
        name: jax.tree.map(lambda *parts: jnp.stack(parts), *blocks)
        for name, blocks in stacks.items()
    }
    return rest | stacked


def unstack_blocks(params: dict) -> dict:
    """Turn scanned parameters into unrolled ones."""
    unrolled = {}
    for name, value in params.items():
        if not name.endswith("blocks"):
            unrolled[name] = value
            continue
        for index in range(jax.tree.leaves(value)[0].shape[0]):
            block = jax.tree.map(lambda part: part[index], value)  # noqa: B023
            unrolled[f"{name.removesuffix('s')}_{index}"] = block
    return unrolled


def initialise(
    model: nn.Module, key: Key[Array, ""], tokens: Int[Array, "batch time"]
) -> dict:
    """Initial parameters, by path and shape alone: scanned equals unrolled.

    Flax would split one key over scanned layers; here a scanned model starts
    from the stacked values of its unrolled twin.
    """
    if getattr(model, "scan", False):
        return stack_blocks(initialise(model.clone(scan=False), key, tokens))
    return model.init(key, tokens)["params"]
