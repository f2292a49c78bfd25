"""Encoders: BERT, RoBERTa, DistilBERT."""

from collections.abc import Mapping

from lm_jax.exchange.architecture import Architecture
from lm_jax.exchange.feedforward import Activation, Feedforward
from lm_jax.exchange.fields import (
    Fixed,
    FullAttention,
    Key,
    LearnedPositions,
    Size,
)
from lm_jax.exchange.rows import After, Row, Same, dense, norm, same
from lm_jax.models import MLP, Encoder

_OWN = "block_{i}/attention"


def _rows(
    layer: str,
    denses: Mapping[str, str],
    norms: Mapping[str, str],
) -> tuple[Row, ...]:
    """The arrays of the blocks.

    Args:
        layer: what the names of a block begin with.
        denses, norms: of a block, ours and theirs.
    """
    return (
        *(
            row
            for ours, theirs in denses.items()
            for row in dense(f"block_{{i}}/{ours}", f"{layer}.{theirs}")
        ),
        *(
            row
            for ours, theirs in norms.items()
            for row in norm(f"block_{{i}}/{ours}", f"{layer}.{theirs}")
        ),
    )


def _blocks(base: str) -> tuple[Row, ...]:
    """BERT's blocks, which RoBERTa has too."""
    return _rows(
        f"{base}.encoder.layer.{{i}}",
        {
            "attention/query": "attention.self.query",
            "attention/key": "attention.self.key",
            "attention/value": "attention.self.value",
            "attention/output": "attention.output.dense",
            "up": "intermediate.dense",
            "down": "output.dense",
        },
        {
            "attention_norm": "attention.output.LayerNorm",
            "feedforward_norm": "output.LayerNorm",
        },
    )


def _embeddings(base: str, positions: Same = Same()) -> tuple[Row, ...]:
    """What the first block reads."""
    words = f"{base}.embeddings"
    places = f"{words}.position_embeddings.weight"
    return (
        same("embedding", f"{words}.word_embeddings.weight"),
        Row(("positions/embedding",), (places,), positions),
        same("types/embedding", f"{words}.token_type_embeddings.weight"),
        *norm("embedding_norm", f"{words}.LayerNorm"),
    )


def _head(layer: str, norms: str, bias: str, decoder: str) -> tuple[Row, ...]:
    """What comes between the last block and the logits."""
    return (
        *dense("head", layer),
        *norm("head_norm", norms),
        same("lm_head_bias", bias),
        *dense("lm_head", decoder),
    )


_GELU = Feedforward(MLP, "intermediate_size", "hidden_act", "gelu")
_SIZES = (
    Size("num_hidden_layers", "layers", 12),
    Size("num_attention_heads", "heads", 12),
    Size("hidden_size", "width", 768),
)
_ENDS = (
    Size("type_vocab_size", "segment_types", 2),
    _GELU,
    FullAttention(),
    Key("layer_norm_eps", "norm_epsilon", 1e-12),
    Key("tie_word_embeddings", "tied", True),
    Fixed("position_embedding_type", "absolute", written=False),
)

BERT = Architecture(
    name="bert",
    heads="BertForMaskedLM",
    model=Encoder,
    constants={},
    fields=(
        Size("vocab_size", "vocab_size", 30522),
        *_SIZES,
        LearnedPositions("max_position_embeddings", default=512),
        *_ENDS,
        Activation("hidden_act", "head_activation", "gelu"),
    ),
    rows=(
        *_embeddings("bert"),
        *_blocks("bert"),
        *_head(
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.bias",
            "cls.predictions.decoder",
        ),
        *dense("pooler", "bert.pooler.dense"),
    ),
    base="bert.",
    renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"),)
    + ((r"LayerNorm\.beta$", "LayerNorm.bias"),),
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    derived=(r"bert\.embeddings\.position_ids",),
    left={r"cls\.seq_relationship\..*": "the head of next sentences"},
    optional=("pooler/",),
)

ROBERTA = Architecture(
    name="roberta",
    heads="RobertaForMaskedLM",
    model=Encoder,
    constants={"head_activation": "gelu_exact"},
    fields=(
        Size("vocab_size", "vocab_size", 50265),
        *_SIZES,
        LearnedPositions("max_position_embeddings", first=2, default=512),
        *_ENDS,
        # Positions begin after the token of padding.
        Fixed("pad_token_id", 1),
    ),
    rows=(
        *_embeddings("roberta", After(2)),
        *_blocks("roberta"),
        *_head(
            "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "lm_head.decoder"
        ),
        *dense("pooler", "roberta.pooler.dense"),
    ),
    base="roberta.",
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    derived=(r"roberta\.embeddings\.position_ids",),
    optional=("pooler/",),
)

DISTILBERT = Architecture(
    name="distilbert",
    heads="DistilBertForMaskedLM",
    model=Encoder,
    constants={"norm_epsilon": 1e-12, "segment_types": 0},
    fields=(
        Size("vocab_size", "vocab_size", 30522),
        Size("n_layers", "layers", 6),
        Size("n_heads", "heads", 12),
        Size("dim", "width", 768),
        LearnedPositions("max_position_embeddings", default=512),
        Feedforward(MLP, "hidden_dim", "activation", "gelu"),
        FullAttention(),
        Activation("activation", "head_activation", "gelu"),
        Key("tie_word_embeddings", "tied", True),
    ),
    rows=(
        *(row for row in _embeddings("distilbert") if "types" not in row.ours[0]),
        *_rows(
            "distilbert.transformer.layer.{i}",
            {
                "attention/query": "attention.q_lin",
                "attention/key": "attention.k_lin",
                "attention/value": "attention.v_lin",
                "attention/output": "attention.out_lin",
                "up": "ffn.lin1",
                "down": "ffn.lin2",
            },
            {
                "attention_norm": "sa_layer_norm",
                "feedforward_norm": "output_layer_norm",
            },
        ),
        *_head(
            "vocab_transform",
            "vocab_layer_norm",
            "vocab_projector.bias",
            "vocab_projector",
        ),
    ),
    base="distilbert.",
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    derived=(r"distilbert\.embeddings\.position_ids",),
    optional=("pooler/",),
)
ENCODERS = (BERT, ROBERTA, DISTILBERT)
