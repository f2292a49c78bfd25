"""BERT and T5 equal those of transformers: logits and all gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.models import (
    MLP,
    Encoder,
    EncoderDecoder,
    EncoderFields,
    Gated,
    Learned,
    Relative,
)
from tests.models.reference import compare, dense, norm, torch

transformers = pytest.importorskip("transformers")

VOCAB, TIME, HIDDEN = 13, 20, 40
RATIO = HIDDEN / 24
RANDOM = np.random.default_rng(1)
TOKENS = RANDOM.integers(1, VOCAB, (2, TIME))
SOURCE = RANDOM.integers(1, VOCAB, (2, 30))
# The second text ends before padding.
SEEN = np.stack([np.arange(TIME) < TIME, np.arange(TIME) < 13])
READ = np.stack([np.arange(30) < 30, np.arange(30) < 17])


def whole(mask):
    return torch.from_numpy(mask.astype(np.int64))


def test_bert():
    """Pooler, kinds of sentence, padding, exact GELU, norms after each sum."""
    config = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TIME,
        layer_norm_eps=1e-3,
        attn_implementation="eager",
    )
    layer, own = "bert.encoder.layer.{i}", "block_{i}/attention"
    words, head = "bert.embeddings", "cls.predictions"
    table = {
        "embedding": f"{words}.word_embeddings.weight",
        "positions/embedding": f"{words}.position_embeddings.weight",
        "types/embedding": f"{words}.token_type_embeddings.weight",
        **norm("embedding_norm", f"{words}.LayerNorm", bias=True),
        **dense(f"{own}/query", f"{layer}.attention.self.query", bias=True),
        **dense(f"{own}/key", f"{layer}.attention.self.key", bias=True),
        **dense(f"{own}/value", f"{layer}.attention.self.value", bias=True),
        **dense(f"{own}/output", f"{layer}.attention.output.dense", bias=True),
        **norm(f"{own}_norm", f"{layer}.attention.output.LayerNorm", bias=True),
        **dense("block_{i}/up", f"{layer}.intermediate.dense", bias=True),
        **dense("block_{i}/down", f"{layer}.output.dense", bias=True),
        **norm("block_{i}/feedforward_norm", f"{layer}.output.LayerNorm", bias=True),
        **dense("head", f"{head}.transform.dense", bias=True),
        **norm("head_norm", f"{head}.transform.LayerNorm", bias=True),
        "lm_head_bias": f"{head}.bias",
        **dense("pooler", "bert.pooler.dense", bias=True),
    }
    model = Encoder(
        layers=2,
        heads=4,
        width=24,
        vocab_size=VOCAB,
        positions=Learned(TIME),
        norm_epsilon=1e-3,
        feedforward=MLP(RATIO, "gelu_exact"),
        segment_types=2,
        head_activation="gelu_exact",
    )
    types = (np.arange(TIME) >= 7).astype(np.int64)[None].repeat(2, 0)

    def theirs(reference):
        read = reference.bert(
            torch.from_numpy(TOKENS),
            attention_mask=whole(SEEN),
            token_type_ids=torch.from_numpy(types),
        )
        return reference.cls.predictions(read[0]), read.pooler_output

    def ours(model):
        hidden, _ = model.features(
            jnp.asarray(TOKENS),
            segments=jnp.asarray(SEEN, jnp.int32),
            types=jnp.asarray(types),
        )
        return model.logits(hidden), model.pooled(hidden)

    assert not list(model.problems())
    compare(
        transformers.BertForPreTraining(config),
        model,
        table,
        theirs,
        ours,
        SEEN,
        apart=("cls.seq_relationship.weight", "cls.seq_relationship.bias"),
    )


def t5_attention(ours, theirs):
    return {
        **dense(f"{ours}/query", f"{theirs}.q"),
        **dense(f"{ours}/key", f"{theirs}.k"),
        **dense(f"{ours}/value", f"{theirs}.v"),
        **dense(f"{ours}/output", f"{theirs}.o"),
    }


def t5_stack(stack, layers, feedforward):
    """The blocks of one of T5's two stacks."""
    own, layer = f"{stack}_block_{{i}}", f"{stack}.block.{{i}}.layer"
    last = 1 if stack == "encoder" else 2
    scores = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    cross = {
        **t5_attention(f"{own}/cross_attention", f"{layer}.1.EncDecAttention"),
        **norm(f"{own}/cross_attention_norm", f"{layer}.1.layer_norm"),
    }
    table = {
        f"{stack}_scores/relative/embedding": scores,
        **t5_attention(f"{own}/attention", f"{layer}.0.SelfAttention"),
        **norm(f"{own}/attention_norm", f"{layer}.0.layer_norm"),
        **(cross if stack == "decoder" else {}),
        **norm(f"{own}/feedforward_norm", f"{layer}.{last}.layer_norm"),
    }
    for name, theirs in feedforward.items():
        table |= dense(f"{own}/{name}", f"{layer}.{last}.DenseReluDense.{theirs}")
    return {
        path.replace("{i}", str(i)): name.replace("{i}", str(i))
        for i in range(layers)
        for path, name in table.items()
    }


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_t5(version):
    """A table shared by all layers of a stack, unscaled scores, two masks."""
    first = version == "1.0"
    config = transformers.T5Config(
        vocab_size=VOCAB,
        d_model=24,
        d_kv=8,
        d_ff=HIDDEN,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=15,
        layer_norm_epsilon=1e-3,
        feed_forward_proj="relu" if first else "gated-gelu",
        tie_word_embeddings=first,
        decoder_start_token_id=0,
        attn_implementation="eager",
    )
    halves = {"up": "wi", "down": "wo"}
    if not first:
        halves = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
    table = {
        "embedding": "shared.weight",
        **t5_stack("encoder", 3, halves),
        **t5_stack("decoder", 2, halves),
        **norm("encoder_norm", "encoder.final_layer_norm"),
        **norm("norm", "decoder.final_layer_norm"),
        **({} if first else dense("lm_head", "lm_head")),
    }
    model = EncoderDecoder(
        layers=2,
        encoder=EncoderFields(layers=3),
        heads=4,
        head_dim=8,
        width=24,
        vocab_size=VOCAB,
        positions=Relative(8, 15, shared=True),
        attention_scale=1.0,
        logit_scale=24**-0.5 if first else None,
        tied=first,
        norm="rms",
        norm_epsilon=1e-3,
        feedforward=MLP(RATIO, "relu") if first else Gated(RATIO, "gelu"),
    )

    def theirs(reference):
        return (
            reference(
                torch.from_numpy(SOURCE),
                attention_mask=whole(READ),
                decoder_input_ids=torch.from_numpy(TOKENS),
                decoder_attention_mask=whole(SEEN),
                use_cache=False,
            ).logits,
        )

    def ours(model):
        return (
            model(
                jnp.asarray(TOKENS),
                segments=jnp.asarray(SEEN, jnp.int32),
                source=jnp.asarray(SOURCE),
                source_mask=jnp.asarray(READ),
            )[0],
        )

    assert not list(model.problems())
    reference = transformers.T5ForConditionalGeneration(config)
    if not first:  # transformers ties its logits until a checkpoint is read
        reference.lm_head.weight = torch.nn.Parameter(torch.empty(VOCAB, 24))
    compare(reference, model, table, theirs, ours, SEEN)
