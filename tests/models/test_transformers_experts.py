"""Mixtures of experts equal those of transformers: logits and all gradients."""

import pytest

from lm_jax.models import MoE
from tests.models.reference import dense, half
from tests.models.test_transformers_decoders import (
    ENDS,
    HEAD,
    HIDDEN,
    LAYER,
    NORMS,
    OURS,
    QK_NORMS,
    RATIO,
    ROTARY,
    THEIRS,
    attention,
    check,
)

transformers = pytest.importorskip("transformers")

EXPERTS = MoE(experts=5, k=2, ratio=RATIO, activation="silu", gated=True)
FIELDS = THEIRS | {"rms_norm_eps": 1e-3, "rope_parameters": ROTARY}


def served(mlp, router="gate", experts="experts"):
    """The router and the experts that it chooses from."""
    return {
        **ENDS,
        **HEAD,
        **NORMS,
        **attention(LAYER),
        **dense("block_{i}/router", f"{mlp}.{router}"),
        "block_{i}/gate/kernel": (f"{mlp}.{experts}.gate_up_proj", half(0, 1)),
        "block_{i}/up/kernel": (f"{mlp}.{experts}.gate_up_proj", half(1, 1)),
        "block_{i}/down/kernel": f"{mlp}.{experts}.down_proj",
    }


MOE = served(f"{LAYER}.mlp")


def model(**changes):
    return OURS.clone(tied=False, **changes)


def test_mixtral():
    """Weights of the chosen experts sum to one."""
    config = transformers.MixtralConfig(
        **FIELDS, num_local_experts=5, num_experts_per_tok=2, sliding_window=None
    )
    ours = model(feedforward=EXPERTS)
    check(transformers.MixtralForCausalLM(config), ours, MOE)


def test_olmoe():
    """Weights of the chosen experts are their chances."""
    config = transformers.OlmoeConfig(
        **FIELDS, num_experts=5, num_experts_per_tok=2, norm_topk_prob=False
    )
    experts = MoE(5, 2, RATIO, "silu", gated=True, normalised=False)
    ours = model(feedforward=experts, qk_norm="width")
    check(transformers.OlmoeForCausalLM(config), ours, MOE | QK_NORMS)


def test_qwen2_moe():
    """Shared experts that a sigmoid weighs; all weights as they are."""
    config = transformers.Qwen2MoeConfig(
        **FIELDS,
        num_experts=5,
        num_experts_per_tok=2,
        moe_intermediate_size=HIDDEN,
        shared_expert_intermediate_size=2 * HIDDEN,
        norm_topk_prob=False,
        tie_word_embeddings=False,
    )
    mlp = f"{LAYER}.mlp"
    table = {
        **MOE,
        **attention(LAYER, qkv_bias=True),
        **dense("block_{i}/shared_gate", f"{mlp}.shared_expert.gate_proj"),
        **dense("block_{i}/shared_up", f"{mlp}.shared_expert.up_proj"),
        **dense("block_{i}/shared_down", f"{mlp}.shared_expert.down_proj"),
        **dense("block_{i}/shared_router", f"{mlp}.shared_expert_gate"),
    }
    experts = MoE(
        5,
        2,
        RATIO,
        "silu",
        gated=True,
        normalised=False,
        shared=2,
        shared_router=True,
    )
    ours = model(feedforward=experts, qkv_bias=True)
    check(transformers.Qwen2MoeForCausalLM(config), ours, table)


def test_granite_moe_shared():
    """Shared experts that serve every token whole, as DeepSeek's."""
    config = transformers.GraniteMoeSharedConfig(
        **FIELDS,
        num_local_experts=5,
        num_experts_per_tok=2,
        shared_intermediate_size=HIDDEN,
        attention_multiplier=0.5,
        logits_scaling=4.0,
        tie_word_embeddings=False,
    )
    shared, mlp = f"{LAYER}.shared_mlp", f"{LAYER}.block_sparse_moe"
    table = {
        **served(mlp, "router"),
        **dense("block_{i}/shared_gate", f"{shared}.input_linear", half(0)),
        **dense("block_{i}/shared_up", f"{shared}.input_linear", half(1)),
        **dense("block_{i}/shared_down", f"{shared}.output_linear"),
    }
    experts = MoE(5, 2, RATIO, "silu", gated=True, shared=1)
    ours = model(feedforward=experts, attention_scale=0.5, logit_scale=0.25)
    check(transformers.GraniteMoeSharedForCausalLM(config), ours, table)
