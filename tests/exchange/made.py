"""Small models of each architecture, with parameters that have an effect."""

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lm_jax.exchange.architecture import shapes_of
from lm_jax.exchange.exporting import architecture_for, write_checkpoint
from lm_jax.files import write_json
from lm_jax.models import (
    MLP,
    Alternating,
    Encoder,
    EncoderDecoder,
    EncoderFields,
    Gated,
    Learned,
    LinearScaling,
    Llama3Scaling,
    MoE,
    Relative,
    Rotary,
    Sinusoidal,
    SlidingWindow,
    Transformer,
    YaRN,
)
from tests.tiny import TEXT

VOCAB = 300
SMALL = {"layers": 2, "heads": 4, "width": 24, "vocab_size": VOCAB}
GROUPED = SMALL | {"kv_heads": 2, "norm": "rms", "norm_epsilon": 1e-3}
BIASED = SMALL | {"use_bias": True, "norm_epsilon": 1e-3}
SILU, EXACT = Gated(40 / 24), MLP(40 / 24, "gelu_exact")

# By the model_type of transformers: every field that a file of it can say.
MODELS = {
    "gpt2": Transformer(**BIASED, positions=Learned(64)),
    "gpt_neox": Transformer(
        **BIASED | {"heads": 2},
        positions=Rotary(100.0, fraction=0.25 + 1 / 12),
        feedforward=EXACT,
        parallel=True,
        parallel_norms=True,
        tied=False,
    ),
    "llama": Transformer(
        **GROUPED,
        head_dim=8,
        positions=Rotary(100.0, scaling=Llama3Scaling(length=16)),
        feedforward=SILU,
        tied=False,
    ),
    "mistral": Transformer(
        **GROUPED,
        positions=Rotary(100.0),
        feedforward=SILU,
        attention=SlidingWindow(4),
    ),
    "qwen2": Transformer(
        **GROUPED,
        positions=Rotary(100.0, scaling=YaRN(length=16)),
        feedforward=SILU,
        qkv_bias=True,
    ),
    "qwen3": Transformer(
        **GROUPED,
        head_dim=8,
        positions=Rotary(100.0, scaling=LinearScaling(2.0)),
        feedforward=SILU,
        qk_norm="head",
        tied=False,
    ),
    "gemma2": Transformer(
        **GROUPED,
        head_dim=8,
        positions=Rotary(100.0),
        feedforward=Gated(40 / 24, "gelu"),
        attention=Alternating(4),
        attention_scale=10**-0.5,
        softcap=2.0,
        logit_softcap=3.0,
        embedding_scale=True,
        norm_at="both",
    ),
    "mixtral": Transformer(
        **GROUPED,
        positions=Rotary(100.0),
        feedforward=MoE(3, 2, 40 / 24, "silu", gated=True),
        tied=False,
    ),
    "bert": Encoder(
        **SMALL,
        positions=Learned(64),
        norm_epsilon=1e-3,
        feedforward=EXACT,
        head_activation="gelu_exact",
        segment_types=2,
    ),
    "roberta": Encoder(
        **SMALL,
        positions=Learned(64),
        norm_epsilon=1e-3,
        feedforward=EXACT,
        head_activation="gelu_exact",
        segment_types=1,
    ),
    "distilbert": Encoder(
        **SMALL,
        positions=Learned(64),
        norm_epsilon=1e-12,
        feedforward=EXACT,
        head_activation="gelu_exact",
    ),
    "t5": EncoderDecoder(
        **SMALL,
        encoder=EncoderFields(layers=3),
        head_dim=8,
        positions=Relative(8, 15, shared=True),
        attention_scale=1.0,
        norm="rms",
        norm_epsilon=1e-3,
        feedforward=Gated(40 / 24, "gelu"),
        tied=False,
    ),
    "bart": EncoderDecoder(
        **SMALL,
        encoder=EncoderFields(layers=3, feedforward=MLP(2.0, "gelu_exact")),
        positions=Learned(64),
        norm_at="post",
        norm_epsilon=1e-5,
        use_bias=True,
        embedding_norm=True,
        logit_bias=True,
        feedforward=EXACT,
    ),
    "marian": EncoderDecoder(
        **SMALL,
        encoder=EncoderFields(layers=3, feedforward=MLP(2.0, "silu")),
        positions=Sinusoidal(amplitude=1.0),
        norm_at="post",
        norm_epsilon=1e-5,
        use_bias=True,
        embedding_scale=True,
        logit_bias=True,
        feedforward=MLP(40 / 24, "silu"),
    ),
}
# That of Marian's padding is beyond a small vocabulary, unless told otherwise.
PADS = {"pad_token_id": 0}
CASES = {
    **{name: (name, model) for name, model in MODELS.items()},
    "gpt2, untied": ("gpt2", MODELS["gpt2"].clone(tied=False)),
    "llama, tied": ("llama", MODELS["llama"].clone(tied=True)),
    "gpt_neox, one after the other": (
        "gpt_neox",
        MODELS["gpt_neox"].clone(parallel=False, parallel_norms=False),
    ),
    "t5 before 1.1": (
        "t5",
        MODELS["t5"].clone(
            tied=True, logit_scale=24**-0.5, feedforward=MLP(40 / 24, "relu")
        ),
    ),
}


def parameters(model, pooler=False):
    """Random parameters of a model, by path."""
    rng = np.random.default_rng(0)
    found = {}
    for path, shape in sorted(shapes_of(model).items()):
        if path.startswith("pooler") and not pooler:
            continue
        std = shape[-1] ** -0.5 if len(shape) > 1 else 0.3
        values = std * rng.normal(size=shape) + path.endswith("scale")
        found[path] = values.astype(np.float32)
    return found


def write_model(folder, model, name="", pooler=False):
    """Write config.json and model.safetensors of a model; give its parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    params = parameters(model, pooler)
    said = PADS if isinstance(model, EncoderDecoder) else {}
    write_checkpoint(folder, architecture_for(model, 64, name), params, said)
    return params


def write_tokenizer(folder, size=VOCAB):
    """Write a tokenizer.json like GPT-2's, trained on the tiny text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT], trainer)
    # What a file may ask for, and nothing of ours does: a text is neither cut nor has
    # a token put before it.
    made.enable_truncation(8)
    begun = "<|endoftext|> $A"
    made.post_processor = processors.TemplateProcessing(
        single=begun, special_tokens=[("<|endoftext|>", 0)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    ends = dict.fromkeys(("bos_token", "eos_token"), "<|endoftext|>")
    write_json(folder / "tokenizer_config.json", ends)
    return made


def write_bert_tokenizer(folder, doubled=False):
    """Write a tokenizer.json that puts [CLS] and [SEP] around texts, as BERT's does.

    Args:
        folder: where.
        doubled: whether two [SEP] stand between the texts of a pair, as RoBERTa's do.
    """
    words = [*"abcdefgh", "the", "cat", "sees", "mouse"]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {name: i for i, name in enumerate([*specials, *words])}
    made = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(specials)
    between = "[SEP] [SEP]" if doubled else "[SEP]"
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A {between} $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    named = {f"{name[1:-1].lower()}_token": name for name in specials[1:]}
    write_json(folder / "tokenizer_config.json", named)
    return made
