"""Encoder-decoders: T5 and BART."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lm_jax.data import Frame
from lm_jax.errors import UserError
from lm_jax.exchange.architecture import Architecture
from lm_jax.exchange.feedforward import activation, their_activation
from lm_jax.exchange.fields import (
    Config,
    Fixed,
    FullAttention,
    Key,
    LearnedPositions,
    Size,
    Unheld,
)
from lm_jax.exchange.rows import After, OfOneRow, Row, Transposed, dense, norm, same
from lm_jax.models import MLP, EncoderDecoder, EncoderFields, Gated, Relative


@dataclass(frozen=True)
class Layers:
    """The blocks of both stacks.

    Attributes:
        encoder, decoder: the keys.
    """

    encoder: str
    decoder: str

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read both; a decoder is as deep as its encoder where nothing else is said."""
        layers = config.whole(self.encoder)
        decoder = config.take(self.decoder, None) or layers
        return {"encoder": EncoderFields(layers), "layers": decoder}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write both."""
        return {self.encoder: ours["encoder"].layers, self.decoder: ours["layers"]}


@dataclass(frozen=True)
class _T5Positions:
    """Biases for distances, one table for all layers of a stack."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read the buckets, and the farthest."""
        buckets = config.whole("relative_attention_num_buckets", 32)
        far = config.whole("relative_attention_max_distance", 128)
        return {"positions": Relative(buckets, far, shared=True)}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write them."""
        positions = ours["positions"]
        if not isinstance(positions, Relative):
            raise Unheld("positions")
        return {
            "relative_attention_num_buckets": positions.buckets,
            "relative_attention_max_distance": positions.distance,
        }


# What feed_forward_proj says, and ours.
_T5_KINDS: dict[str, tuple[Any, str]] = {
    "relu": (MLP, "relu"),
    "gated-gelu": (Gated, "gelu"),
    "gated-silu": (Gated, "silu"),
    "gated-relu": (Gated, "relu"),
}


@dataclass(frozen=True)
class _T5Feedforward:
    """The kind of T5's position-wise half, in one word."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read it and its width."""
        word = config.take("feed_forward_proj", "relu")
        for said_again in ("dense_act_fn", "is_gated_act"):
            config.take(said_again, None)
        if word not in _T5_KINDS:
            raise config.refuse("feed_forward_proj", list(_T5_KINDS))
        kind, name = _T5_KINDS[word]
        hidden = config.whole("d_ff")
        made = kind(hidden / ours["width"], name)
        if made.hidden(ours["width"]) != hidden:
            raise UserError(
                f"{config.path}: d_ff={hidden}, and a gated layer of ours is a "
                "multiple of 8 wide."
            )
        return {"feedforward": made}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write both."""
        made = ours["feedforward"]
        for word, (kind, name) in _T5_KINDS.items():
            if type(made) is kind and made.activation == name:
                return {"feed_forward_proj": word, "d_ff": made.hidden(ours["width"])}
        raise Unheld("feedforward")


@dataclass(frozen=True)
class _T5Logits:
    """Whether the embedding makes the logits, and whether they are scaled.

    Before version 1.1 both are so, after it neither, and one key said it. Since
    transformers 5 that is true in any case, another says whether they are scaled, and
    the arrays whether they are tied.
    """

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read both."""
        tied = config.take("tie_word_embeddings", True)
        scaled = config.take("scale_decoder_outputs", tied)
        tied = tied and (scaled or "lm_head.weight" not in config.arrays)
        return {"tied": tied, "logit_scale": ours["width"] ** -0.5 if scaled else None}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write both keys."""
        scaled = ours["logit_scale"] != 1.0
        if scaled and not ours["tied"]:
            raise Unheld("logit_scale")
        both = {"tie_word_embeddings": ours["tied"]}
        return both | {"scale_decoder_outputs": scaled}


def _stack(stack: str) -> Iterator[Row]:
    """The blocks of one of T5's stacks."""
    own, layer = f"{stack}_block_{{i}}", f"{stack}.block.{{i}}.layer"
    last = 1 if stack == "encoder" else 2
    halves = {"attention": f"{layer}.0.SelfAttention"}
    norms = {"attention": f"{layer}.0.layer_norm"}
    if stack == "decoder":
        halves["cross_attention"] = f"{layer}.1.EncDecAttention"
        norms["cross_attention"] = f"{layer}.1.layer_norm"
    norms["feedforward"] = f"{layer}.{last}.layer_norm"
    first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    yield same(f"{stack}_scores/relative/embedding", first)
    for half, theirs in halves.items():
        for ours in ("query", "key", "value", "output"):
            yield from dense(f"{own}/{half}/{ours}", f"{theirs}.{ours[0]}")
    for half, theirs in norms.items():
        yield from norm(f"{own}/{half}_norm", theirs)
    theirs = f"{layer}.{last}.DenseReluDense"
    yield from dense(f"{own}/down", f"{theirs}.wo")
    up, gate = f"{own}/up/kernel", f"{own}/gate/kernel"
    both = (f"{theirs}.wi_0.weight", f"{theirs}.wi_1.weight")
    yield Row((gate, up), both, Transposed())
    yield Row((up,), (f"{theirs}.wi.weight",), Transposed(), unless=gate)


def after_padding(values: Mapping[str, Any], pad: int = 0, end: int = 1) -> Frame:
    """A target begins after padding; both texts end.

    Args:
        values: of config.json.
        pad, end: the tokens, where it doesn't say them.
    """
    pad, end = _id(values, "pad", pad), _id(values, "eos", end)
    return Frame((_id(values, "decoder_start", pad),), end, after=(end,))


def _id(values: Mapping[str, Any], role: str, default: int) -> int:
    """The token of a role; the first of several."""
    found = values.get(f"{role}_token_id")
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, int) else default


T5 = Architecture(
    name="t5",
    heads="T5ForConditionalGeneration",
    model=EncoderDecoder,
    constants={"norm": "rms", "attention_scale": 1.0},
    fields=(
        Size("vocab_size", "vocab_size", 32128),
        Layers("num_layers", "num_decoder_layers"),
        Size("num_heads", "heads", 8),
        Size("d_kv", "head_dim", 64),
        Size("d_model", "width", 512),
        Size("n_positions", "context", 512),
        _T5Positions(),
        _T5Feedforward(),
        FullAttention(),
        Key("layer_norm_epsilon", "norm_epsilon", 1e-6),
        _T5Logits(),
        Fixed("is_encoder_decoder", True),
    ),
    rows=(
        same("embedding", "shared.weight"),
        *_stack("encoder"),
        *_stack("decoder"),
        *norm("encoder_norm", "encoder.final_layer_norm"),
        *norm("norm", "decoder.final_layer_norm"),
        *dense("lm_head", "lm_head"),
    ),
    copies={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
    # The first files have it, as those of google-t5/t5-small.
    left={
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias"
        r"\.weight": "a bias that no layer reads"
    },
    frame=after_padding,
)


@dataclass(frozen=True)
class BartHalves:
    """Heads, feed-forwards and what bends, which both of BART's stacks name."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Read them; both stacks have as many heads."""
        heads = config.whole("encoder_attention_heads", 16)
        if config.whole("decoder_attention_heads", 16) != heads:
            raise config.refuse("decoder_attention_heads", [heads])
        name: Any = activation(config, "activation_function", "gelu")
        widths = (f"{stack}_ffn_dim" for stack in ("encoder", "decoder"))
        halves = [MLP(config.whole(k, 4096) / ours["width"], name) for k in widths]
        encoder = replace(ours["encoder"], feedforward=halves[0])
        config.take("num_hidden_layers", None)  # the encoder's, said again
        return {"heads": heads, "encoder": encoder, "feedforward": halves[1]}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write them."""
        halves = {
            "encoder": ours["encoder"].feedforward,
            "decoder": ours["feedforward"],
        }
        if any(type(half) is not MLP for half in halves.values()):
            raise Unheld("feedforward")
        bends = ours["feedforward"].activation
        found = {"activation_function": their_activation(bends, "feedforward")}
        for stack, half in halves.items():
            found[f"{stack}_ffn_dim"] = half.hidden(ours["width"])
            found[f"{stack}_attention_heads"] = ours["heads"]
        return found


@dataclass(frozen=True)
class BartBias:
    """Whether logits have a bias, which the arrays alone say."""

    def read(self, config: Config, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Look whether it is there: where it isn't, theirs is none."""
        return {"logit_bias": "final_logits_bias" in config.arrays}

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Write nothing: the array says it."""
        return {}


def _bart_stack(stack: str) -> Iterator[Row]:
    """One of BART's stacks, and what it reads."""
    own, part = f"{stack}_block_{{i}}", "source" if stack == "encoder" else "target"
    base = f"model.{stack}"
    places = f"{base}.embed_positions.weight"
    yield Row((f"{part}/positions/embedding",), (places,), After(2))
    yield from norm(f"{part}/embedding_norm", f"{base}.layernorm_embedding")
    halves = {"attention": "self_attn"}
    if stack == "decoder":
        halves["cross_attention"] = "encoder_attn"
    for half, theirs in halves.items():
        layer = f"{base}.layers.{{i}}.{theirs}"
        for ours in ("query", "key", "value"):
            yield from dense(f"{own}/{half}/{ours}", f"{layer}.{ours[0]}_proj")
        yield from dense(f"{own}/{half}/output", f"{layer}.out_proj")
        yield from norm(f"{own}/{half}_norm", f"{layer}_layer_norm")
    layer = f"{base}.layers.{{i}}"
    yield from dense(f"{own}/up", f"{layer}.fc1")
    yield from dense(f"{own}/down", f"{layer}.fc2")
    yield from norm(f"{own}/feedforward_norm", f"{layer}.final_layer_norm")


def _bart_frame(values: Mapping[str, Any]) -> Frame:
    """A source stands between two tokens; some targets begin with a forced one."""
    begin, end = _id(values, "bos", 0), _id(values, "eos", 2)
    start, forced = _id(values, "decoder_start", end), _id(values, "forced_bos", -1)
    first = (start,) if forced < 0 else (start, forced)
    return Frame(first, end, (begin,), (end,))


BART = Architecture(
    name="bart",
    heads="BartForConditionalGeneration",
    model=EncoderDecoder,
    constants={
        "norm": "layer",
        "norm_at": "post",
        "norm_epsilon": 1e-5,
        "use_bias": True,
        "embedding_norm": True,
    },
    fields=(
        Size("vocab_size", "vocab_size", 50265),
        Layers("encoder_layers", "decoder_layers"),
        Size("d_model", "width", 1024),
        LearnedPositions("max_position_embeddings", default=1024),
        BartHalves(),
        FullAttention(),
        Key("scale_embedding", "embedding_scale", False),
        Key("tie_word_embeddings", "tied", True),
        BartBias(),
        Fixed("is_encoder_decoder", True),
    ),
    rows=(
        same("embedding", "model.shared.weight"),
        *_bart_stack("encoder"),
        *_bart_stack("decoder"),
        Row(("lm_head_bias",), ("final_logits_bias",), OfOneRow()),
        *dense("lm_head", "lm_head"),
    ),
    base="model.",
    copies={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
    },
    left={r"model\.(encoder|decoder)\.version": "the version of fairseq"},
    frame=_bart_frame,
)
SEQ2SEQ = (T5, BART)
