"""Llama and its kin: Mistral, Qwen2 and 3, Gemma 2, Mixtral."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_jax.exchange.architecture import Architecture
from lm_jax.exchange.feedforward import Feedforward, MixtralExperts
from lm_jax.exchange.fields import Config, Fixed, FullAttention, Key, Size, Unheld
from lm_jax.exchange.rope import RotaryPositions, Windows
from lm_jax.exchange.rows import Raised, Row, Same, Stacked, dense, norm, same
from lm_jax.models import Gated, Transformer

_OWN = "block_{i}/attention"
_LAYER = "model.layers.{i}"
_PROJECTED = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}


def _rows(norms: Mapping[str, str], way: Same = Same()) -> tuple[Row, ...]:
    """The arrays of Llama and its kin, without a feed-forward.

    Args:
        norms: of a block, ours and theirs.
        way: of a norm's scale.
    """
    return (
        same("embedding", "model.embed_tokens.weight"),
        *norm("norm", "model.norm", way),
        *(
            row
            for ours, theirs in norms.items()
            for row in norm(f"block_{{i}}/{ours}", f"{_LAYER}.{theirs}", way)
        ),
        *norm(f"{_OWN}/query_norm", f"{_LAYER}.self_attn.q_norm"),
        *norm(f"{_OWN}/key_norm", f"{_LAYER}.self_attn.k_norm"),
        *(
            row
            for ours, theirs in _PROJECTED.items()
            for row in dense(f"{_OWN}/{ours}", f"{_LAYER}.self_attn.{theirs}")
        ),
        *dense("lm_head", "lm_head"),
    )


_PRE = {
    "attention_norm": "input_layernorm",
    "feedforward_norm": "post_attention_layernorm",
}
_GATED = (
    *dense("block_{i}/gate", f"{_LAYER}.mlp.gate_proj"),
    *dense("block_{i}/up", f"{_LAYER}.mlp.up_proj"),
    *dense("block_{i}/down", f"{_LAYER}.mlp.down_proj"),
)
_SIZES = (
    Size("vocab_size", "vocab_size", 32000),
    Size("num_hidden_layers", "layers"),
    Size("num_attention_heads", "heads"),
    Size("num_key_value_heads", "kv_heads", None),
    Size("hidden_size", "width"),
)
_SILU = Feedforward(Gated, "intermediate_size", "hidden_act", "silu")
_ENDS = (
    Key("rms_norm_eps", "norm_epsilon", 1e-6),
    Key("tie_word_embeddings", "tied", False),
)
_KIN: dict[str, Any] = {
    "model": Transformer,
    "base": "model.",
    "copies": {"lm_head.weight": "model.embed_tokens.weight"},
    "derived": (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
}
_LENGTH = Size("max_position_embeddings", "context")
_DIM = Size("head_dim", "head_dim", None)


LLAMA = Architecture(
    name="llama",
    heads="LlamaForCausalLM",
    constants={"norm": "rms"},
    fields=(
        *_SIZES,
        Size("max_position_embeddings", "context", 2048),
        _DIM,
        RotaryPositions(),
        _SILU,
        FullAttention(),
        *_ENDS,
        Fixed("attention_bias", False),
        Fixed("mlp_bias", False),
    ),
    rows=(*_rows(_PRE), *_GATED),
    **_KIN,
)
MISTRAL = Architecture(
    name="mistral",
    heads="MistralForCausalLM",
    constants={"norm": "rms"},
    fields=(
        *_SIZES,
        _LENGTH,
        _DIM,
        RotaryPositions(),
        _SILU,
        Windows(4096, typed=False),
    )
    + _ENDS,
    rows=(*_rows(_PRE), *_GATED),
    **_KIN,
)
_QWEN = Windows(4096, switch="use_sliding_window")
QWEN2 = Architecture(
    name="qwen2",
    heads="Qwen2ForCausalLM",
    constants={"norm": "rms", "qkv_bias": True},
    fields=(*_SIZES, _LENGTH, RotaryPositions(), _SILU, _QWEN, *_ENDS),
    rows=(*_rows(_PRE), *_GATED),
    **_KIN,
)
QWEN3 = Architecture(
    name="qwen3",
    heads="Qwen3ForCausalLM",
    constants={"norm": "rms", "qk_norm": "head"},
    fields=(
        *_SIZES,
        _LENGTH,
        Size("head_dim", "head_dim", 128),
        RotaryPositions(),
        _SILU,
        _QWEN,
        *_ENDS,
        Fixed("attention_bias", False),
    ),
    rows=(*_rows(_PRE), *_GATED),
    **_KIN,
)
MIXTRAL = Architecture(
    name="mixtral",
    heads="MixtralForCausalLM",
    constants={"norm": "rms"},
    fields=(
        *_SIZES,
        _LENGTH,
        _DIM,
        RotaryPositions(1e6),
        MixtralExperts(),
        Windows(None, typed=False),
        Key("rms_norm_eps", "norm_epsilon", 1e-5),
        Key("tie_word_embeddings", "tied", False),
    ),
    rows=(
        *_rows(_PRE),
        *dense("block_{i}/router", f"{_LAYER}.block_sparse_moe.gate"),
        *(
            Row(
                (f"block_{{i}}/{ours}/kernel",),
                (f"{_LAYER}.block_sparse_moe.experts.{{e}}.{theirs}.weight",),
                Stacked(),
            )
            for ours, theirs in (("gate", "w1"), ("up", "w3"), ("down", "w2"))
        ),
    ),
    **_KIN,
)


@dataclass(frozen=True)
class _QueryScale:
    """The factor on the scores, by the number whose root it is divided by."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read the factor."""
        return {"attention_scale": config.take("query_pre_attn_scalar", 256) ** -0.5}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write the number."""
        if ours["attention_scale"] <= 0:
            raise Unheld("attention_scale")
        number = round(ours["attention_scale"] ** -2, 6)
        whole = int(number) if number == int(number) else number
        return {"query_pre_attn_scalar": whole}


GEMMA2 = Architecture(
    name="gemma2",
    heads="Gemma2ForCausalLM",
    constants={"norm": "rms", "norm_at": "both", "embedding_scale": True},
    fields=(
        *_SIZES,
        Size("max_position_embeddings", "context", 8192),
        Size("head_dim", "head_dim", 256),
        RotaryPositions(),
        Feedforward(
            Gated, "intermediate_size", "hidden_activation", "gelu_pytorch_tanh"
        ),
        Windows(4096, every=2),
        Key("rms_norm_eps", "norm_epsilon", 1e-6),
        Key("tie_word_embeddings", "tied", True),
        _QueryScale(),
        Key("attn_logit_softcapping", "softcap", 50.0),
        Key("final_logit_softcapping", "logit_softcap", 30.0),
        Fixed("attention_bias", False),
        # Written before hidden_activation was, and read by nothing since.
        Fixed("hidden_act", "gelu_pytorch_tanh", written=False),
    ),
    rows=(
        *_rows(
            {
                "attention_norm": "input_layernorm",
                "attention_after": "post_attention_layernorm",
                "feedforward_norm": "pre_feedforward_layernorm",
                "feedforward_after": "post_feedforward_layernorm",
            },
            Raised(),
        ),
        *_GATED,
    ),
    **_KIN,
)
LLAMA_KIN = (LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, MIXTRAL)
