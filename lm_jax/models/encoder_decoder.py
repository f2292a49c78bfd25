"""Encoder and decoder: text from another text (Vaswani et al. 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.bounds import SIZES, within
from lm_jax.models.block import apply_blocks, empty_caches
from lm_jax.models.cache import Cache
from lm_jax.models.config import BlockConfig, FeedForward
from lm_jax.models.dropout import part_keys
from lm_jax.models.feedforward import MLP
from lm_jax.models.moe import MoE
from lm_jax.models.part import BlockPart
from lm_jax.models.patterns import Pattern, shared_from_both_sides
from lm_jax.models.positions import Positions, Sinusoidal
from lm_jax.models.softmax import Softmax
from lm_jax.models.stack import Stack

__all__ = ["EncoderDecoder", "EncoderFields"]


@dataclass(frozen=True)
class EncoderFields:
    """What an encoder has of its own; None is as in the decoder.

    Attributes:
        layers: number of blocks.
        attention: which tokens of the source a token of it sees.
        feedforward: the position-wise half of a block.
    """

    layers: int | None = within(SIZES, None)
    attention: Pattern | None = None
    feedforward: FeedForward | None = None


class SourceCache(NamedTuple):
    """The cache of a decoder that reads a source.

    Attributes:
        target: of the tokens written; its layers hold "own" and "source", keys and
            values of both texts.
        source_mask: true where the source has a token.
    """

    target: Cache
    source_mask: Bool[Array, "batch source_slots"]


class Placed(BlockPart):
    """Embedded tokens with their positions, in a scope of its own.

    Attributes:
        norm: whether a norm follows.
    """

    norm: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time width"], positions: Int[Array, "rows time"]
    ) -> Float[Array, "batch time width"]:
        """Say where each token stands."""
        x = self.config.positions.embed(self, x, positions)
        return self.normalise(x, "embedding_norm") if self.norm else x


class EncoderDecoder(Stack):
    """A stack that reads a source, and one that writes what follows from it.

    One embedding serves the source, the target and, if tied, the logits.

    Attributes:
        encoder: what the encoder has of its own.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)

    layers: int = 6
    heads: int = 8
    width: int = 512
    positions: Positions = Sinusoidal()
    feedforward: FeedForward = MLP(activation="relu")
    encoder: EncoderFields = EncoderFields()

    @property
    def config(self) -> BlockConfig:
        """What the blocks of the decoder are handed."""
        return BlockConfig.of(self, cross=True)

    @property
    def encoder_config(self) -> BlockConfig:
        """What the blocks of the encoder are handed."""
        own = {k: v for k, v in vars(self.encoder).items() if v is not None}
        return BlockConfig.of(self, causal=False, **own)

    @property
    def stacks(self) -> dict[str, int]:
        """Blocks of each stack, by what their names begin with."""
        return {"encoder_": self.encoder_config.layers, "decoder_": self.layers}

    @property
    def below(self) -> str:
        """An expression of what both stacks read tokens with."""
        return super().below + "|^(source|target)/embedding"

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: SourceCache | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        source: Int[Array, "batch source_time"] | None = None,
        source_mask: Bool[Array, "batch source_time"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], SourceCache | None]:
        """Read what was written: a vector of each token of the target.

        Args:
            tokens: what was written.
            positions: where each of them stands; from 0 if None.
            segments: target tokens see only tokens of the same segment.
            cache: of `encode`, or of a call before: the source is then read
                from there, and ``source`` left out.
            dropout_keys: one random key for each example switches dropout on.
            source: what was read.
            source_mask: true where the source has a token; all, if None.

        Returns:
            The features, and the cache with these tokens (or None).
        """
        encoded = None
        if source is not None:
            if source_mask is None:
                source_mask = jnp.ones(source.shape, bool)
            encoded = self._encoded(source, source_mask, dropout_keys)
        else:
            assert cache is not None, "a target needs a source, or the cache of one"
            source_mask = cache.source_mask
        target = None if cache is None else cache.target
        shared, target = self.left_to_right(
            tokens, positions, segments, target, dropout_keys, None
        )
        shared = shared._replace(source=encoded, source_mask=source_mask)
        x = self.embed(
            tokens, shared, Placed(self.config, self.embedding_norm, name="target")
        )
        layers = None if target is None else target.layers
        x, layers = apply_blocks(self.config, x, layers, shared, "decoder_block")
        x = x if self.norm_at == "post" else self.normalise(x, "norm")
        if target is None:
            return x, None
        return x, SourceCache(target._replace(layers=layers), source_mask)

    def _encoded(self, source, source_mask, dropout_keys):
        """Read the source from both sides."""
        config, keys = self.encoder_config, part_keys(dropout_keys, "encoder")
        segments = source_mask.astype(jnp.int32)
        shared = shared_from_both_sides(source.shape[1], None, segments, keys)
        x = self.embed(
            source, shared, Placed(config, self.embedding_norm, name="source")
        )
        x, _ = apply_blocks(config, x, None, shared, "encoder_block")
        return x if self.norm_at == "post" else self.normalise(x, "encoder_norm")

    def encode(
        self,
        source: Int[Array, "batch source_time"],
        source_mask: Bool[Array, "batch source_time"] | None = None,
        slots: int = 512,
    ) -> SourceCache | None:
        """Read a source once: the cache of a target of no token yet.

        Args:
            source: what is to be read.
            source_mask: true where it has a token; all, if None.
            slots: number of target tokens that can be remembered.
        """
        batch, time = source.shape
        nothing = jnp.zeros((batch, 0), jnp.int32)
        return self.features(
            nothing,
            nothing,
            cache=self.empty_cache(batch, slots, time),
            source=source,
            source_mask=source_mask,
        )[1]

    def empty_cache(self, batch: int, slots: int, source_slots: int = 1) -> SourceCache:
        """The cache before a source was read: of the shapes that `encode` gives.

        Args:
            batch: number of rows.
            slots: number of target tokens that can be remembered.
            source_slots: number of source tokens.
        """
        target = super().empty_cache(batch, slots)
        own = target.layers
        source = empty_caches(
            replace(self.config, mixer=Softmax()), batch, source_slots
        )
        layers: Any = {"own": own, "source": source}
        if not self.scan:
            both = zip(own, source, strict=True)
            layers = tuple({"own": a, "source": b} for a, b in both)
        mask = jnp.zeros((batch, source_slots), bool)
        return SourceCache(target._replace(layers=layers), mask)

    def cleared(self, cache: SourceCache) -> SourceCache:
        """The cache of no target token again; the source stays.

        Args:
            cache: of some tokens.
        """

        def cleared(layer):
            return layer | {"own": jax.tree.map(jnp.zeros_like, layer["own"])}

        layers = cache.target.layers
        target = jax.tree.map(jnp.zeros_like, cache.target._replace(layers=None))
        kept = cleared(layers) if self.scan else tuple(map(cleared, layers))
        return cache._replace(target=target._replace(layers=kept))

    def rows_of(self, cache: SourceCache, rows: Int[Array, " chosen"]) -> SourceCache:
        """The cache of chosen rows, in their order; a row may come several times.

        Args:
            cache: of some rows.
            rows: numbers of those that are wanted.
        """
        return SourceCache(super().rows_of(cache.target, rows), cache.source_mask[rows])

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        found = list(super().problems())
        yield from found
        if self.parallel:
            yield "model.parallel is for blocks of two halves: a decoder's have three."
        if not found:
            yield from self.encoder_config.problems()

    def axis_sizes(self) -> Iterator[tuple[str, str, int]]:
        """Name those of both stacks."""
        yield from super().axis_sizes()
        if isinstance(own := self.encoder.feedforward, MoE):
            yield "experts", "encoder.feedforward.experts", own.experts
        if self.scan:
            yield "layers", "encoder.layers", self.encoder_config.layers

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on a token of source and of target.

        Six for each kernel entry, and for each of the scores and mixed values of the
        tokens that are seen. Both texts are taken to have ``context`` tokens, so it
        is a bound where they are shorter, as in span corruption.
        """
        encoder = self.encoder_config
        blocks = encoder.layers * encoder.multiplications(context)
        return super().flops_per_token(context) + 6.0 * blocks
