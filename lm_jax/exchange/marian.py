"""Marian, of translations: BART's stacks over waves, without a norm before them."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lm_jax.errors import UserError
from lm_jax.exchange.fields import Config, Fixed, FullAttention, Key, Size, Unheld
from lm_jax.exchange.seq2seq import (
    BART,
    BartBias,
    BartHalves,
    Layers,
    after_padding,
)
from lm_jax.models import Sinusoidal


@dataclass(frozen=True)
class _Waves:
    """Sines in one half of a vector and cosines in the other, which nothing learns."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read nothing: all models have the same."""
        if ours["width"] % 2:
            raise UserError(
                f"{config.path}: d_model={ours['width']} is odd, and the waves of "
                "positions are as ours in even widths alone."
            )
        return {"positions": Sinusoidal(amplitude=1.0)}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write nothing; what differs is found when it is read back."""
        if ours["width"] % 2:
            raise Unheld("width")
        return {}


@dataclass(frozen=True)
class _OneVocabulary:
    """That sources and targets have the same tokens, with the same vectors."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """See that the decoder has no other size."""
        size = ours["vocab_size"]
        if config.take("decoder_vocab_size", None) not in (None, size):
            raise config.refuse("decoder_vocab_size", [size])
        return {}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write nothing: it is the encoder's unless told otherwise."""
        return {}


MARIAN = replace(
    BART,
    name="marian",
    heads="MarianMTModel",
    constants={**BART.constants, "embedding_norm": False},
    fields=(
        Size("vocab_size", "vocab_size", 58101),
        Fixed("share_encoder_decoder_embeddings", True),
        _OneVocabulary(),
        Layers("encoder_layers", "decoder_layers"),
        Size("d_model", "width", 1024),
        Size("max_position_embeddings", "context", 1024),
        Fixed("static_position_embeddings", True),
        _Waves(),
        BartHalves(),
        FullAttention(),
        Key("scale_embedding", "embedding_scale", False),
        Key("tie_word_embeddings", "tied", True),
        BartBias(),
        Fixed("is_encoder_decoder", True),
    ),
    derived=(r"model\.(encoder|decoder)\.embed_positions\.weight",),
    frame=functools.partial(after_padding, pad=58100, end=0),
)
