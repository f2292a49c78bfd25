"""Decoders equal those of transformers, field by field: logits and all gradients."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.exchange.known import ARCHITECTURES
from lm_jax.models import (
    MLP,
    ALiBi,
    Alternating,
    Gated,
    Learned,
    LinearScaling,
    Llama3Scaling,
    Rotary,
    SlidingWindow,
    Transformer,
    YaRN,
)
from tests.models.reference import compare, dense, norm, third, torch

transformers = pytest.importorskip("transformers")

VOCAB, TIME, HIDDEN = 13, 24, 40
SMALL = {"layers": 2, "heads": 4, "kv_heads": 2, "width": 24, "vocab_size": VOCAB}
THEIRS = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attn_implementation": "eager",
}
ROTARY = {"rope_type": "default", "rope_theta": 100.0}
RATIO = HIDDEN / 24
TOKENS = np.random.default_rng(1).integers(1, VOCAB, (2, TIME))
# The second text begins after five tokens of padding.
SEEN = np.stack([np.arange(TIME) >= 0, np.arange(TIME) >= 5])
PLACES = np.maximum(SEEN.cumsum(1) - 1, 0)


def check(reference, model, table, placed=True, **more):
    """Compare a decoder, on a text that is padded and one that is not."""

    def theirs(reference):
        where = {"position_ids": torch.from_numpy(PLACES)} if placed else {}
        mask = torch.from_numpy(SEEN.astype(np.int64))
        tokens = torch.from_numpy(TOKENS)
        return (
            reference(tokens, attention_mask=mask, use_cache=False, **where).logits,
        )

    def ours(model):
        segments = jnp.asarray(SEEN, jnp.int32)
        return (model(jnp.asarray(TOKENS), jnp.asarray(PLACES), segments)[0],)

    assert not list(model.problems())
    compare(reference, model, table, theirs, ours, SEEN, **more)


def attention(layer, bias=False, qkv_bias=None, output="o_proj"):
    own = "block_{i}/attention"
    qkv_bias = bias if qkv_bias is None else qkv_bias
    return {
        **dense(f"{own}/query", f"{layer}.self_attn.q_proj", bias=qkv_bias),
        **dense(f"{own}/key", f"{layer}.self_attn.k_proj", bias=qkv_bias),
        **dense(f"{own}/value", f"{layer}.self_attn.v_proj", bias=qkv_bias),
        **dense(f"{own}/output", f"{layer}.self_attn.{output}", bias=bias),
    }


LAYER = "model.layers.{i}"
GATED = {
    **dense("block_{i}/gate", f"{LAYER}.mlp.gate_proj"),
    **dense("block_{i}/up", f"{LAYER}.mlp.up_proj"),
    **dense("block_{i}/down", f"{LAYER}.mlp.down_proj"),
}
ENDS = {"embedding": "model.embed_tokens.weight", **norm("norm", "model.norm")}
HEAD = dense("lm_head", "lm_head")
NORMS = {
    **norm("block_{i}/attention_norm", f"{LAYER}.input_layernorm"),
    **norm("block_{i}/feedforward_norm", f"{LAYER}.post_attention_layernorm"),
}
QK_NORMS = {
    **norm("block_{i}/attention/query_norm", f"{LAYER}.self_attn.q_norm"),
    **norm("block_{i}/attention/key_norm", f"{LAYER}.self_attn.k_norm"),
}
LLAMA = {**ENDS, **NORMS, **attention(LAYER), **GATED}

OURS = Transformer(
    **SMALL,
    positions=Rotary(100.0),
    norm="rms",
    norm_epsilon=1e-3,
    feedforward=Gated(RATIO),
)

SCALED = {
    "unscaled": ({}, Rotary(100.0)),
    "linear": ({"rope_type": "linear", "factor": 4.0}, LinearScaling(4.0)),
    "llama 3.1": (
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        Llama3Scaling(length=64),
    ),
    "yarn": (
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        YaRN(length=64),
    ),
    "yarn by hand": (
        {
            "rope_type": "yarn",
            "factor": 2.0,
            "original_max_position_embeddings": 64,
            "beta_fast": 6.0,
            "beta_slow": 0.5,
            "attention_factor": 1.3,
        },
        YaRN(2.0, 64, fast=6.0, slow=0.5, attention_factor=1.3),
    ),
}


@pytest.mark.parametrize("name", SCALED)
def test_llama_and_its_scalings(name):
    """head_dim apart from width / heads, norm_epsilon, rotary scaling."""
    rope, scaling = SCALED[name]
    config = transformers.LlamaConfig(
        **THEIRS, head_dim=8, rms_norm_eps=1e-3, rope_parameters=ROTARY | rope
    )
    positions = Rotary(100.0, scaling=scaling) if rope else scaling
    model = OURS.clone(head_dim=8, tied=False, positions=positions)
    check(transformers.LlamaForCausalLM(config), model, ARCHITECTURES["llama"])


def test_mistral():
    """A window of four tokens."""
    config = transformers.MistralConfig(
        **THEIRS,
        rms_norm_eps=1e-3,
        sliding_window=4,
        rope_parameters=ROTARY,
        tie_word_embeddings=True,
    )
    model = OURS.clone(attention=SlidingWindow(4))
    check(transformers.MistralForCausalLM(config), model, ARCHITECTURES["mistral"])


def test_qwen2():
    """Biases of queries, keys and values alone."""
    config = transformers.Qwen2Config(
        **THEIRS, rms_norm_eps=1e-3, rope_parameters=ROTARY, tie_word_embeddings=True
    )
    model = OURS.clone(qkv_bias=True)
    check(transformers.Qwen2ForCausalLM(config), model, ARCHITECTURES["qwen2"])


def test_qwen3():
    """Norms of queries and keys in each head."""
    config = transformers.Qwen3Config(
        **THEIRS,
        head_dim=8,
        rms_norm_eps=1e-3,
        rope_parameters=ROTARY,
        tie_word_embeddings=False,
    )
    model = OURS.clone(qk_norm="head", head_dim=8, tied=False)
    check(transformers.Qwen3ForCausalLM(config), model, ARCHITECTURES["qwen3"])


def test_olmo2():
    """Norms after each half only; queries and keys normalised over all heads."""
    config = transformers.Olmo2Config(
        **THEIRS, rms_norm_eps=1e-3, rope_parameters=ROTARY
    )
    table = {
        **ENDS,
        **HEAD,
        **attention(LAYER),
        **QK_NORMS,
        **GATED,
        **norm("block_{i}/attention_after", f"{LAYER}.post_attention_layernorm"),
        **norm("block_{i}/feedforward_after", f"{LAYER}.post_feedforward_layernorm"),
    }
    model = OURS.clone(norm_at="after", qk_norm="width", tied=False)
    check(transformers.Olmo2ForCausalLM(config), model, table)


GEMMA = OURS.clone(
    head_dim=8, feedforward=Gated(RATIO, "gelu"), embedding_scale=True, norm_at="both"
)
GEMMA_TABLE = {
    **ENDS,
    **attention(LAYER),
    **GATED,
    **norm("block_{i}/attention_norm", f"{LAYER}.input_layernorm"),
    **norm("block_{i}/attention_after", f"{LAYER}.post_attention_layernorm"),
    **norm("block_{i}/feedforward_norm", f"{LAYER}.pre_feedforward_layernorm"),
    **norm("block_{i}/feedforward_after", f"{LAYER}.post_feedforward_layernorm"),
}


def test_gemma():
    """Embeddings times the root of the width."""
    config = transformers.GemmaConfig(
        **THEIRS,
        head_dim=8,
        rms_norm_eps=1e-3,
        rope_parameters=ROTARY,
        hidden_act="gelu_pytorch_tanh",
    )
    model = GEMMA.clone(norm_at="pre")
    check(transformers.GemmaForCausalLM(config), model, LLAMA, raised=1.0)


def test_gemma2():
    """Layers with a window in turn, soft-caps, a scale of the scores."""
    config = transformers.Gemma2Config(
        **THEIRS,
        head_dim=8,
        rms_norm_eps=1e-3,
        rope_parameters=ROTARY,
        sliding_window=4,
        query_pre_attn_scalar=10,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    )
    model = GEMMA.clone(
        attention=Alternating(4),
        attention_scale=10**-0.5,
        softcap=2.0,
        logit_softcap=3.0,
    )
    check(transformers.Gemma2ForCausalLM(config), model, ARCHITECTURES["gemma2"])


def test_gemma3():
    """A base of its own for layers with a window; the others are scaled."""
    config = transformers.Gemma3TextConfig(
        **THEIRS | {"num_hidden_layers": 3},
        head_dim=8,
        rms_norm_eps=1e-3,
        sliding_window=4,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        query_pre_attn_scalar=10,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
            "full_attention": ROTARY | {"rope_type": "linear", "factor": 4.0},
        },
    )
    model = GEMMA.clone(
        layers=3,
        attention=Alternating(4, 3),
        attention_scale=10**-0.5,
        qk_norm="head",
        positions=Rotary(100.0, scaling=LinearScaling(4.0), local_base=10.0),
    )
    table = GEMMA_TABLE | QK_NORMS
    check(transformers.Gemma3ForCausalLM(config), model, table, raised=1.0)


def fused(layer, heads=1, output="dense"):
    """One layer makes queries, keys and values."""
    own, name = "block_{i}/attention", f"{layer}.query_key_value"
    return {
        **dense(f"{own}/query", name, third(0, heads), True),
        **dense(f"{own}/key", name, third(1, heads), True),
        **dense(f"{own}/value", name, third(2, heads), True),
        **dense(f"{own}/output", f"{layer}.{output}", bias=True),
    }


def mlp(up, down):
    return {
        **dense("block_{i}/up", up, bias=True),
        **dense("block_{i}/down", down, bias=True),
    }


LAYER_NORMS = OURS.clone(
    kv_heads=None,
    norm="layer",
    norm_epsilon=1e-3,
    use_bias=True,
    feedforward=MLP(RATIO),
)


@pytest.mark.parametrize("parallel", [True, False])
def test_gpt_neox(parallel):
    """A norm for each half of a parallel block; a quarter of a head turns; erf."""
    theirs = {k: v for k, v in THEIRS.items() if k != "num_key_value_heads"}
    config = transformers.GPTNeoXConfig(
        **theirs | {"hidden_size": 32},
        layer_norm_eps=1e-3,
        hidden_act="gelu",
        use_parallel_residual=parallel,
        rope_parameters=ROTARY | {"partial_rotary_factor": 0.25},
    )
    model = LAYER_NORMS.clone(
        width=32,
        tied=False,
        parallel=parallel,
        parallel_norms=parallel,
        positions=Rotary(100.0, fraction=0.25),
        feedforward=MLP(HIDDEN / 32, "gelu_exact"),
    )
    # In a file the head has another name than in memory.
    there = ARCHITECTURES["gpt_neox"]
    head = {"embed_out.weight": "lm_head.weight", "embed_out.bias": "lm_head.bias"}
    rows = [
        r._replace(theirs=tuple(head.get(n, n) for n in r.theirs)) for r in there.rows
    ]
    check(transformers.GPTNeoXForCausalLM(config), model, replace(there, rows=rows))


def test_phi():
    """Logits with a bias; one norm for both halves; half of a head turns."""
    config = transformers.PhiConfig(
        **THEIRS | {"hidden_size": 32},
        layer_norm_eps=1e-3,
        hidden_act="gelu_new",
        rope_parameters=ROTARY | {"partial_rotary_factor": 0.5},
    )
    table = {
        "embedding": "model.embed_tokens.weight",
        **norm("norm", "model.final_layernorm", bias=True),
        **norm("block_{i}/attention_norm", f"{LAYER}.input_layernorm", bias=True),
        **attention(LAYER, bias=True, output="dense"),
        **mlp(f"{LAYER}.mlp.fc1", f"{LAYER}.mlp.fc2"),
        **HEAD,
        "lm_head_bias": "lm_head.bias",
    }
    model = LAYER_NORMS.clone(
        width=32,
        kv_heads=2,
        tied=False,
        parallel=True,
        logit_bias=True,
        positions=Rotary(100.0, fraction=0.5),
        feedforward=MLP(HIDDEN / 32),
    )
    check(transformers.PhiForCausalLM(config), model, table)


def test_bloom():
    """A norm after the embedding; ALiBi where heads aren't a power of two."""
    config = transformers.BloomConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        n_layer=2,
        n_head=6,
        layer_norm_epsilon=1e-3,
        attn_implementation="eager",
    )
    layer, name = "transformer.h.{i}", "word_embeddings"
    after = f"{layer}.post_attention_layernorm"
    table = {
        "embedding": f"transformer.{name}.weight",
        **norm("embedding_norm", f"transformer.{name}_layernorm", bias=True),
        **norm("norm", "transformer.ln_f", bias=True),
        **norm("block_{i}/attention_norm", f"{layer}.input_layernorm", bias=True),
        **norm("block_{i}/feedforward_norm", after, bias=True),
        **fused(f"{layer}.self_attention", heads=6),
        **mlp(f"{layer}.mlp.dense_h_to_4h", f"{layer}.mlp.dense_4h_to_h"),
    }
    model = LAYER_NORMS.clone(
        heads=6, positions=ALiBi(), embedding_norm=True, feedforward=MLP()
    )
    check(transformers.BloomForCausalLM(config), model, table, placed=False)


def test_gpt2():
    """Learned positions and biases everywhere."""
    config = transformers.GPT2Config(
        vocab_size=VOCAB,
        n_embd=24,
        n_layer=2,
        n_head=4,
        n_positions=TIME,
        layer_norm_epsilon=1e-3,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    model = LAYER_NORMS.clone(positions=Learned(TIME), feedforward=MLP())
    check(transformers.GPT2LMHeadModel(config), model, ARCHITECTURES["gpt2"])
