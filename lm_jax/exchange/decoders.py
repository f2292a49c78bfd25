"""The first decoders: GPT-2 and GPT-NeoX."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_jax.exchange.architecture import Architecture
from lm_jax.exchange.feedforward import Feedforward
from lm_jax.exchange.fields import (
    Config,
    Fixed,
    FullAttention,
    Key,
    LearnedPositions,
    Size,
)
from lm_jax.exchange.rope import RotaryPositions
from lm_jax.exchange.rows import Fused, FusedByHead, Row, Same, dense, norm, same
from lm_jax.models import MLP, Transformer

_QKV = ("query", "key", "value")
_OWN = "block_{i}/attention"


def _kept(ours: str, theirs: str) -> list[Row]:
    """A layer that GPT-2 keeps as (inputs, features)."""
    both = ("kernel", "weight"), ("bias", "bias")
    return [same(f"{ours}/{a}", f"{theirs}.{b}") for a, b in both]


def _fused(name: str, kernel: Same, bias: Same) -> list[Row]:
    """One layer that makes queries, keys and values."""
    return [
        Row(tuple(f"{_OWN}/{each}/{a}" for each in _QKV), (f"{name}.{b}",), way)
        for a, b, way in (("kernel", "weight", kernel), ("bias", "bias", bias))
    ]


_LAYER = "transformer.h.{i}"
GPT2 = Architecture(
    name="gpt2",
    heads="GPT2LMHeadModel",
    model=Transformer,
    constants={"norm": "layer", "use_bias": True},
    fields=(
        Size("vocab_size", "vocab_size", 50257),
        Size("n_layer", "layers", 12),
        Size("n_head", "heads", 12),
        Size("n_embd", "width", 768),
        LearnedPositions("n_positions", default=1024),
        Feedforward(MLP, "n_inner", "activation_function", "gelu_new", times=4),
        FullAttention(),
        Key("layer_norm_epsilon", "norm_epsilon", 1e-5),
        Key("tie_word_embeddings", "tied", True),
        Fixed("scale_attn_weights", True),
        Fixed("scale_attn_by_inverse_layer_idx", False),
        Fixed("reorder_and_upcast_attn", False),
    ),
    rows=(
        same("embedding", "transformer.wte.weight"),
        same("positions/embedding", "transformer.wpe.weight"),
        *norm("norm", "transformer.ln_f"),
        *norm("block_{i}/attention_norm", f"{_LAYER}.ln_1"),
        *norm("block_{i}/feedforward_norm", f"{_LAYER}.ln_2"),
        *_fused(f"{_LAYER}.attn.c_attn", Fused(), Fused()),
        *_kept(f"{_OWN}/output", f"{_LAYER}.attn.c_proj"),
        *_kept("block_{i}/up", f"{_LAYER}.mlp.c_fc"),
        *_kept("block_{i}/down", f"{_LAYER}.mlp.c_proj"),
        *dense("lm_head", "lm_head"),
    ),
    base="transformer.",
    copies={"lm_head.weight": "transformer.wte.weight"},
    derived=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
)

_LAYER = "gpt_neox.layers.{i}"


@dataclass(frozen=True)
class _ParallelHalves:
    """Both halves of a block read the same, each by a norm of its own."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read whether they do."""
        parallel = config.take("use_parallel_residual", True)
        return {"parallel": parallel, "parallel_norms": parallel}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write it; what differs is found when it is read back."""
        return {"use_parallel_residual": ours["parallel"]}


NEOX = Architecture(
    name="gpt_neox",
    heads="GPTNeoXForCausalLM",
    model=Transformer,
    constants={"norm": "layer", "use_bias": True},
    fields=(
        Size("vocab_size", "vocab_size", 50432),
        Size("num_hidden_layers", "layers", 44),
        Size("num_attention_heads", "heads", 64),
        Size("hidden_size", "width", 6144),
        Size("max_position_embeddings", "context", 2048),
        RotaryPositions(10000.0, "rotary_emb_base", "rotary_pct", 0.25),
        Feedforward(MLP, "intermediate_size", "hidden_act", "gelu"),
        FullAttention(),
        Key("layer_norm_eps", "norm_epsilon", 1e-5),
        Key("tie_word_embeddings", "tied", False),
        _ParallelHalves(),
        Fixed("attention_bias", True),
    ),
    rows=(
        same("embedding", "gpt_neox.embed_in.weight"),
        *norm("norm", "gpt_neox.final_layer_norm"),
        *norm("block_{i}/attention_norm", f"{_LAYER}.input_layernorm"),
        *norm("block_{i}/feedforward_norm", f"{_LAYER}.post_attention_layernorm"),
        *_fused(f"{_LAYER}.attention.query_key_value", FusedByHead(), FusedByHead()),
        *dense(f"{_OWN}/output", f"{_LAYER}.attention.dense"),
        *dense("block_{i}/up", f"{_LAYER}.mlp.dense_h_to_4h"),
        *dense("block_{i}/down", f"{_LAYER}.mlp.dense_4h_to_h"),
        *dense("lm_head", "embed_out"),
    ),
    base="gpt_neox.",
    copies={"embed_out.weight": "gpt_neox.embed_in.weight"},
    derived=(
        r"gpt_neox\.layers\.\d+\.attention\.(masked_)?bias",
        r"gpt_neox\.layers\.\d+\.attention\.rotary_emb\.inv_freq",
    ),
)
GPTS = (GPT2, NEOX)
