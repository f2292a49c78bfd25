"""The one block that decoders, encoders and encoder-decoders are stacks of."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from lm_jax.kernels.pipeline import microbatches_of, pipelined
from lm_jax.kernels.placement import HOST, constrain
from lm_jax.models.attention import Attention, CrossAttention
from lm_jax.models.config import BlockConfig
from lm_jax.models.dropout import dropout, part_keys
from lm_jax.models.part import BlockPart
from lm_jax.models.patterns import Index, Shared

# What is kept of a block: with projections, all but the wide hidden layer.
KEPT: dict[str, tuple[str, ...]] = {
    "full": (),
    "products": ("product", "mixed"),
    "projections": ("query", "key", "value", "mixed", "attention", "feedforward"),
    "offload": (),
}
# What of it waits for the backward pass in the host's memory. Of four layers of
# experiments/scale/llama_1b.py, 8 rows a chip (v5e:2x2, compiled): 0.25 GiB, moved
# there and back in 36 ms of 280; temporaries of 2.42 GiB become 2.37.
AWAY: dict[str, tuple[str, ...]] = {"offload": ("block",)}


class Block(BlockPart):
    """x + attention(norm(x)), then x + feedforward(norm(x))."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time width"],
        index: Index,
        cache: Any,
        shared: Shared,
    ) -> tuple[Float[Array, "batch time width"], Any]:
        """Apply the block that stands at ``index`` in the stack.

        Args:
            x: the residual stream.
            index: of the block.
            cache: of the tokens before; with ``cross``, "own" and "source".
            shared: what all blocks share.
        """
        config = self.config
        x = checkpoint_name(constrain(x, "batch", "time", "width"), "block")
        shared = shared._replace(dropout_keys=part_keys(shared.dropout_keys, index))
        own = cache["own"] if config.cross and cache else cache
        ready = self._before(x, "attention")
        y, own = Attention(config, name="attention")(ready, index, shared, own)
        y = self._after(y, "attention", shared)
        if config.parallel:
            if config.parallel_norms:
                ready = self._before(x, "feedforward")
            other = config.feedforward(self, ready, shared.segments)
            y = y + self._after(other, "feedforward", shared)
            return self._settled(x + y, "attention"), own
        x = self._settled(x + y, "attention")
        if config.cross:
            x, source = self._cross(x, cache["source"] if cache else None, shared)
            own = {"own": own, "source": source} if cache else None
        ready = self._before(x, "feedforward")
        y = config.feedforward(self, ready, shared.segments)
        y = self._after(checkpoint_name(y, "feedforward"), "feedforward", shared)
        return self._settled(x + y, "feedforward"), own

    def _cross(self, x, cache, shared):
        """Attend to the other sequence."""
        ready = self._before(x, "cross_attention")
        apart = part_keys(shared.dropout_keys, "cross_attention")
        attention = CrossAttention(self.config, name="cross_attention")
        y, cache = attention(ready, shared._replace(dropout_keys=apart), cache)
        y = self._after(y, "cross_attention", shared)
        return self._settled(x + y, "cross_attention"), cache

    def _before(self, x, half):
        """What a half reads."""
        if self.config.norm_at in ("post", "after"):
            return x
        return self.normalise(x, f"{half}_norm")

    def _after(self, y, half, shared):
        """What a half adds to the residual stream."""
        if self.config.norm_at in ("both", "after"):
            y = self.normalise(y, f"{half}_after")
        return dropout(y, self.config.dropout, shared.dropout_keys, half)

    def _settled(self, x, half):
        """The residual stream after a half."""
        x = constrain(x, "batch", "time", "width")
        if self.config.norm_at != "post":
            return x
        return self.normalise(x, f"{half}_norm")


class Scores(BlockPart):
    """What positions add to the scores of all blocks, in a scope of its own."""

    @nn.compact
    def __call__(self, shared: Shared) -> Float[Array, "rows heads time slots"] | None:
        """Make it once for a stack; None leaves it to each block."""
        positions = self.config.positions
        return positions.shared_bias(self, shared.positions, shared.key_positions)


def apply_blocks(
    config: BlockConfig,
    x: Float[Array, "batch time width"],
    cache: Any,
    shared: Shared,
    name: str = "block",
) -> tuple[Float[Array, "batch time width"], Any]:
    """Apply blocks in turn, unrolled or as one scanned block.

    Called in the compact scope of the model.

    Args:
        config: of each block, and how many there are.
        x: what goes in.
        cache: of each block; stacked if scanned. None remembers nothing.
        shared: what all blocks share.
        name: of a block; the index is added, or the plural made.
    """
    scores = Scores(config, name=f"{name.removesuffix('block')}scores")
    shared = shared._replace(bias=scores(shared))
    if config.scan and cache is None and microbatches_of(len(x), config.layers):
        return Pipeline(config, name=f"{name}s")(x, shared), None
    if config.scan:
        indices = jnp.arange(config.layers)
        return _looped(config)(config, name=f"{name}s")(x, indices, cache, shared)
    caches = []
    for index in range(config.layers):
        own = None if cache is None else cache[index]
        block = _remembering(config)(config, name=f"{name}_{index}")
        x, own = block(x, index, own, shared)
        caches.append(own)
    return x, None if cache is None else tuple(caches)


def _looped(config: BlockConfig) -> Any:
    """Blocks as one that is scanned, with as many layers as it is given indices."""
    return nn.scan(
        _remembering(config),
        variable_axes={"params": 0, "penalties": 0},
        split_rngs={"params": True},
        in_axes=(0, 0, nn.broadcast),
    )


class Pipeline(BlockPart):
    """Scanned blocks whose layers lie on several devices; see `pipelined`.

    Its parameters are those of the scan.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time width"], shared: Shared
    ) -> Float[Array, "batch time width"]:
        """Apply all of them."""
        config, rows = self.config, len(x)
        # Any: fields without a row for each example go to all stages as they are.
        given: dict[str, Any] = shared._asdict()
        beside = {
            name: each
            for name, each in given.items()
            if each is not None and len(each) == rows
        }
        told = ["penalties"] if self.is_mutable_collection("penalties") else []
        layers = _looped(config)(config, parent=None)

        def stage(params: Any, number: Array, x: Array, beside: Any) -> Any:
            own = jax.tree.leaves(params)[0].shape[0]
            indices = number * own + jnp.arange(own)
            of_rows = shared._replace(**beside)
            (x, _), sown = layers.apply(
                {"params": params}, x, indices, None, of_rows, mutable=told
            )
            return x, sown

        count = microbatches_of(rows, config.layers)
        params = self.variables["params"]
        x, sown = pipelined(stage, params, x, beside, self.path, count)
        for name, each in sown.get("penalties", {}).items():
            self.put_variable("penalties", name, each)
        return x


def _remembering(config: BlockConfig) -> type[nn.Module]:
    """The block, or one that computes some of its parts again in the backward pass."""
    if config.remat == "none":
        return Block
    policy = jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=KEPT[config.remat],
        names_which_can_be_offloaded=AWAY.get(config.remat, ()),
        offload_src="device",
        offload_dst=HOST,
    )
    # Nothing of a scan's step is there to be shared with its backward pass.
    return nn.remat(
        Block,
        policy=policy,
        prevent_cse=not config.scan,
        static_argnums=() if config.scan else (2,),
    )


def empty_caches(config: BlockConfig, batch: int, slots: int) -> Any:
    """The cache of each block before any token: stacked if scanned.

    Args:
        config: of the blocks.
        batch: number of rows.
        slots: number of tokens that can be remembered.
    """
    zeros = config.mixer.empty_cache(
        batch, config.groups, slots, config.dim, config.dtype
    )
    if config.scan:
        layers = (config.layers,)
        return jax.tree.map(lambda x: jnp.zeros(layers + x.shape, x.dtype), zeros)
    # Apart, so that a token is written in place and nothing is copied.
    return (zeros,) * config.layers
