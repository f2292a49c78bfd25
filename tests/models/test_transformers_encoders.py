"""BERT and T5 equal those of transformers: logits and all gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.exchange.encoders import BERT
from lm_jax.exchange.seq2seq import T5
from lm_jax.models import (
    MLP,
    Encoder,
    EncoderDecoder,
    EncoderFields,
    Gated,
    Learned,
    Relative,
)
from tests.models.reference import compare, torch

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
        BERT,
        theirs,
        ours,
        SEEN,
        apart=("cls.seq_relationship.weight", "cls.seq_relationship.bias"),
    )


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
    compare(reference, model, T5, theirs, ours, SEEN)
