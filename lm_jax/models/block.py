"""The one block that decoders, encoders and encoder-decoders are stacks of."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.models.attention import Attention, CrossAttention, Mixer
from lm_jax.models.dropout import dropout, part_keys
from lm_jax.models.feedforward import MLP, FeedForward
from lm_jax.models.initial import GPT2, Initial, Role
from lm_jax.models.linear import Dense
from lm_jax.models.moe import MoE
from lm_jax.models.norms import NORMS, Norm
from lm_jax.models.patterns import Full, Index, Pattern, Seen
from lm_jax.models.positions import NoPositions, Positions
from lm_jax.models.softmax import Softmax

NormAt = Literal["pre", "post", "both"]


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x)).

    Attributes:
        cross: whether the tokens also attend to another sequence.
        causal: whether a token sees only those before.
        The others: see Transformer, which hands them on.
    """

    heads: int
    kv_heads: int | None = None
    positions: Positions = NoPositions()
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
    initial: Initial = GPT2()
    layers: int = 1
    cross: bool = False
    causal: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time width"], index: Index, memory: Any, seen: Seen
    ) -> tuple[Float[Array, "batch time width"], Any]:
        """Apply the block that stands at ``index`` in the stack.

        ``seen`` is what all blocks share: positions, mask, noise, source.
        """
        seen = seen._replace(noise=part_keys(seen.noise, index))
        own = memory["own"] if self.cross and memory else memory

        def norm(name):
            return NORMS[self.norm](self.use_bias, self.dtype, name=name)

        def before(x, name):
            return x if self.norm_at == "post" else norm(f"{name}_norm")(x)

        def after(y, name):
            y = norm(f"{name}_after")(y) if self.norm_at == "both" else y
            return dropout(y, self.dropout, seen.noise, name)

        def settled(x, name):
            return norm(f"{name}_norm")(x) if self.norm_at == "post" else x

        attention = Attention(**shared_fields(self, Attention), name="attention")
        ready = before(x, "attention")
        y, own = attention(ready, index, seen, own)
        y = after(y, "attention")
        if self.parallel:
            y = y + after(self._feedforward(ready, seen), "feedforward")
            return settled(x + y, "attention"), own
        x = settled(x + y, "attention")
        if self.cross:
            cross = CrossAttention(
                **shared_fields(self, CrossAttention), name="cross_attention"
            )
            source = memory["source"] if memory else None
            ready = before(x, "cross_attention")
            apart = seen._replace(noise=part_keys(seen.noise, "cross_attention"))
            y, source = cross(ready, apart, source)
            x = settled(x + after(y, "cross_attention"), "cross_attention")
            own = {"own": own, "source": source} if memory else None
        y = self._feedforward(before(x, "feedforward"), seen)
        return settled(x + after(y, "feedforward"), "feedforward"), own

    def _feedforward(self, x, seen):
        """Call the position-wise half in the scope of this block."""

        def dense(inputs, features, name, experts=None):
            role: Role = "residual" if name == "down" else "hidden"
            std = self.initial.std(role, inputs, x.shape[-1], self.layers)
            return Dense(
                inputs, features, std, self.use_bias, self.dtype, experts, name=name
            )

        def penalise(name, penalties):
            if seen.noise is not None:
                self.sow("penalties", name, penalties)

        return self.feedforward(x, dense, penalise)


def mixer_of(model: nn.Module) -> Mixer:
    """How a model's tokens mix: by softmax, where it has no choice."""
    return getattr(model, "mixer", Softmax())


def shared_fields(model: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    """The fields of ``model`` that modules of ``kind`` have too."""
    names = {field.name for field in dataclasses.fields(kind)} - {"parent", "name"}
    fields = {name: getattr(model, name) for name in names if hasattr(model, name)}
    if fields["kv_heads"] is None:
        fields["kv_heads"] = model.heads
    return fields


def apply_blocks(
    model: nn.Module,
    x: Float[Array, "batch time width"],
    memory: Any,
    seen: Seen,
    name: str = "block",
    **fields: Any,
) -> tuple[Float[Array, "batch time width"], Any]:
    """Apply a model's blocks in turn, unrolled or as one scanned block.

    Called in the compact scope of the model, whose fields they share.

    Args:
        model: has ``layers`` and ``scan``, and the fields of a block.
        x: what goes in.
        memory: of each block; stacked if scanned. None remembers nothing.
        seen: what all blocks share.
        name: of a block; the index is added, or the plural made.
        fields: of the blocks, where they aren't those of the model.
    """
    fields = shared_fields(model, Block) | fields
    layers = fields["layers"]
    if model.scan:
        stack = nn.scan(
            Block,
            variable_axes={"params": 0, "penalties": 0},
            split_rngs={"params": True},
            in_axes=(0, 0, nn.broadcast),
            length=layers,
        )
        return stack(**fields, name=f"{name}s")(x, jnp.arange(layers), memory, seen)
    memories = []
    for index in range(layers):
        own = None if memory is None else memory[index]
        x, own = Block(**fields, name=f"{name}_{index}")(x, index, own, seen)
        memories.append(own)
    return x, None if memory is None else tuple(memories)


def empty_memories(model: nn.Module, batch: int, slots: int) -> Any:
    """The memory of each block before any token: stacked if scanned.

    Args:
        model: has ``layers``, ``scan``, the sizes, and perhaps ``mixer``.
        batch: number of rows.
        slots: number of tokens that can be remembered.
    """
    heads, dim = model.kv_heads or model.heads, model.width // model.heads
    zeros = mixer_of(model).empty_memory(batch, heads, slots, dim, model.dtype)
    if model.scan:
        layers = (model.layers,)
        return jax.tree.map(lambda x: jnp.zeros(layers + x.shape, x.dtype), zeros)
    # Apart, so that a token is written in place and nothing is copied.
    return (zeros,) * model.layers


def block_multiplications(model: nn.Module, context: int, causal: bool = True) -> float:
    """Multiplications of one token in one block, forward.

    One for each kernel entry that a token uses, and those of the mixer with what
    the token sees on average: half the context if it is causal.
    """
    dim = model.width // model.heads
    kv_width = (model.kv_heads or model.heads) * dim
    seen = model.attention.average(context, model.layers) * (1 if causal else 2)
    products = 2 * model.width * (model.width + kv_width)
    products += mixer_of(model).kernels(model.width, model.heads)
    products += mixer_of(model).products(model.width, dim, seen)
    return products + model.feedforward.kernels(model.width)
