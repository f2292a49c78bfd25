"""The Transformer decoder: a causal language model (Radford et al. 2018)."""

from collections.abc import Iterator
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.models.attention import Attention, Memory, causal_mask
from lm_jax.models.dropout import dropout
from lm_jax.models.feedforward import MLP, FeedForward
from lm_jax.models.linear import Dense, product
from lm_jax.models.norms import NORMS, Norm
from lm_jax.models.positions import Learned, Positions, Rotary


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x)).

    Attributes: see Transformer, which hands them on.
    """

    heads: int
    kv_heads: int
    positions: Positions
    norm: Norm
    feedforward: FeedForward
    dropout: float
    use_bias: bool
    residual_std: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        index: Int[Array, ""] | int,
        memory: Memory | None,
        seen: tuple[
            Int[Array, "rows time"],
            Bool[Array, "masks 1 time slots"],
            Key[Array, " batch"] | None,
        ],
    ) -> tuple[Float[Array, "batch time width"], Memory | None]:
        """Apply the block that stands at ``index`` in the stack.

        ``seen`` is what all blocks share: positions, mask and noise.
        """
        positions, mask, noise = seen
        if noise is not None:
            noise = jax.vmap(jax.random.fold_in, (0, None))(noise, index)

        def norm(name):
            return NORMS[self.norm](self.use_bias, self.dtype, name=name)

        def dense(inputs, features, name):
            std = self.residual_std if name == "down" else 0.02
            return Dense(inputs, features, std, self.use_bias, self.dtype, name=name)

        attention = Attention(
            heads=self.heads,
            kv_heads=self.kv_heads,
            positions=self.positions,
            dropout=self.dropout,
            residual_std=self.residual_std,
            use_bias=self.use_bias,
            dtype=self.dtype,
            name="attention",
        )
        y, memory = attention(norm("attention_norm")(x), positions, mask, memory, noise)
        x = x + dropout(y, self.dropout, noise, "attention")
        y = self.feedforward(norm("feedforward_norm")(x), dense)
        return x + dropout(y, self.dropout, noise, "feedforward"), memory


class Transformer(nn.Module):
    """A stack of blocks between an embedding and the logits of the next token.

    Attributes:
        layers: number of blocks.
        heads: number of attention heads; must divide the width.
        width: width of the residual stream.
        kv_heads: key and value heads, each serving heads/kv_heads query heads;
            None is one for each query head.
        positions: how the model knows where a token stands.
        norm: "layer" or "rms", before each half of a block and at the end.
        feedforward: the position-wise half of a block.
        dropout: rate after the embedding, on attention weights, on each half.
        use_bias: whether dense layers and norms have biases.
        tied: whether the embedding also makes the logits.
        scan: compile one block and loop over it: compile time then does not
            grow with depth. Same values either way.
        dtype: type to compute in; parameters stay float32.
        vocab_size: number of tokens; 0 takes the size of the tokenizer.
    """

    layers: int = 12
    heads: int = 12
    width: int = 768
    kv_heads: int | None = None
    positions: Positions = Learned()
    norm: Norm = "layer"
    feedforward: FeedForward = MLP()
    dropout: float = 0.0
    use_bias: bool = False
    tied: bool = True
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
            segments: tokens see only tokens of the same segment.
            memory: keys and values of the tokens before, by `empty_memory`;
                slots up to a token's position are seen.
            noise: one random key for each example switches dropout on.

        Returns:
            The logits, float32, and the memory with these tokens (or None).
        """
        if positions is None:
            positions = jnp.arange(tokens.shape[1])[None]
        if memory is None:
            mask = causal_mask(tokens.shape[1], segments)
        else:
            slots = jnp.arange(jax.tree.leaves(memory)[0].shape[-2])
            mask = slots <= positions[:, None, :, None]
        embedding = self.param(
            "embedding", nn.initializers.normal(0.02), (self.vocab_size, self.width)
        )
        x = jnp.take(embedding, tokens, axis=0).astype(self.dtype)
        x = self.positions.embed(x, positions)
        x = dropout(x, self.dropout, noise, "embedding")
        x, memory = self._blocks(x, memory, (positions, mask, noise))
        x = NORMS[self.norm](self.use_bias, self.dtype, name="norm")(x)
        if self.tied:
            logits = product(x, embedding.T.astype(self.dtype))
        else:
            readout = Dense(
                self.width, self.vocab_size, dtype=self.dtype, name="logits"
            )
            logits = readout(x)
        return logits.astype(jnp.float32), memory

    def _blocks(self, x, memory, seen):
        """Apply the blocks in turn, unrolled or as one scanned block."""
        fields = {
            "heads": self.heads,
            "kv_heads": self.kv_heads or self.heads,
            "positions": self.positions,
            "norm": self.norm,
            "feedforward": self.feedforward,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            # GPT-2: the sum of 2 * layers writes keeps its variance.
            "residual_std": 0.02 / (2 * self.layers) ** 0.5,
            "dtype": self.dtype,
        }
        if self.scan:
            stack = nn.scan(
                Block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(0, 0, nn.broadcast),
                length=self.layers,
            )
            return stack(**fields, name="blocks")(
                x, jnp.arange(self.layers), memory, seen
            )
        memories = []
        for index in range(self.layers):
            own = None if memory is None else memory[index]
            x, own = Block(**fields, name=f"block_{index}")(x, index, own, seen)
            memories.append(own)
        return x, None if memory is None else tuple(memories)

    def empty_memory(self, batch: int, slots: int) -> Any:
        """Keys and values of no token yet: stacked if scanned, else one a layer.

        Args:
            batch: number of rows.
            slots: number of tokens that can be remembered.
        """
        kv_heads = self.kv_heads or self.heads
        shape = [batch, kv_heads, slots, self.width // self.heads]
        if self.scan:
            shape.insert(0, self.layers)
        zeros = {name: jnp.zeros(shape, self.dtype) for name in ("key", "value")}
        # Apart, so that a token is written in place and nothing is copied.
        return zeros if self.scan else (zeros,) * self.layers

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        if min(self.layers, self.heads, self.width) < 1:
            yield "model.layers, model.heads and model.width must be 1 or more."
            return
        if self.width % self.heads:
            fits = [n for n in range(1, self.width + 1) if self.width % n == 0]
            near = min(fits, key=lambda n: abs(n - self.heads))
            yield (
                f"model.heads={self.heads} doesn't divide model.width={self.width}. "
                f"The nearest that does: {near}."
            )
            return
        kv_heads = self.kv_heads or self.heads
        if kv_heads < 1 or self.heads % kv_heads:
            yield (
                f"model.kv_heads={kv_heads} doesn't divide model.heads={self.heads}."
            )
        dim = self.width // self.heads
        if isinstance(self.positions, Rotary) and dim % 2:
            yield (
                f"Rotary positions turn pairs, and a head is {dim} wide (model.width "
                f"/ model.heads). Choose an even quotient."
            )
        if not 0 <= self.dropout < 1:
            yield f"model.dropout={self.dropout} is not in [0, 1)."

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token, forward and backward.

        Six for each kernel entry, and six for each of width scores and mixed
        values of the context/2 tokens that causal attention sees on average
        (Kaplan et al. 2020, 2.1, with attention counted at half).
        """
        kv_width = self.width * (self.kv_heads or self.heads) // self.heads
        block = 2 * self.width * (self.width + kv_width)
        block += self.feedforward.kernels(self.width)
        block += self.width * context
        return 6.0 * (self.layers * block + self.width * self.vocab_size)


def stack_blocks(params: dict) -> dict:
    """Turn unrolled parameters (block_0, block_1, ...) into scanned ones."""
    names = sorted(
        (name for name in params if name.startswith("block_")),
        key=lambda name: int(name.removeprefix("block_")),
    )
    blocks = jax.tree.map(lambda *parts: jnp.stack(parts), *(params[n] for n in names))
    return {k: v for k, v in params.items() if k not in names} | {"blocks": blocks}


def unstack_blocks(params: dict) -> dict:
    """Turn scanned parameters into unrolled ones."""
    blocks = params["blocks"]
    layers = jax.tree.leaves(blocks)[0].shape[0]
    unrolled = {
        f"block_{index}": jax.tree.map(lambda part: part[index], blocks)  # noqa: B023
        for index in range(layers)
    }
    return {k: v for k, v in params.items() if k != "blocks"} | unrolled


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
