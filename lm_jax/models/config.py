"""A block, described once: every field of it, what follows from them, and the check."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.attention_forms import Form
from lm_jax.models.dtype import Dtype, array_dtype, dtype_problems
from lm_jax.models.feedforward import MLP, Gated
from lm_jax.models.gated_linear import GatedLinear
from lm_jax.models.initial import GPT2, Initial
from lm_jax.models.moe import MoE
from lm_jax.models.norms import NORMS, Norm
from lm_jax.models.patterns import Full, Pattern
from lm_jax.models.positions import Learned, Positions
from lm_jax.models.softmax import Softmax

__all__ = ["FeedForward", "Mixer"]

NormAt = Literal["pre", "post", "both", "after"]
QKNorm = Literal["none", "head", "width"]
Mixer = Softmax | GatedLinear
FeedForward = MLP | Gated | MoE
Remat = Literal["none", "full", "products", "projections", "offload"]


@dataclass(unsafe_hash=True, repr=False)
class BlockFields:
    """The fields of a stack of blocks; models have them flat.

    Attributes:
        layers: number of blocks.
        heads: number of attention heads; must divide the width, unless ``head_dim``
            is given.
        width: width of the residual stream.
        kv_heads: key and value heads, each serving heads/kv_heads query heads;
            None is one for each query head.
        head_dim: width of a head; None is width/heads (Gemma and Qwen3 choose it).
        positions: how the model knows where a token stands.
        mixer: how tokens take from those before: by softmax attention, or by a
            state of constant size.
        attention: which tokens a token sees.
        attention_scale: factor on the scores; None is 1/sqrt(head_dim), or what
            ``initial`` says. 1 in T5.
        softcap: largest score of attention; None has no limit (Gemma 2).
        qk_norm: where queries and keys get unit root mean square: "head", in each
            head (Henry et al. 2020; Qwen3); "width", over all of them (OLMo 2).
        norm: "layer", "rms" or "none".
        norm_at: where it stands: "pre", before each half of a block and at the
            end; "post", after each sum (Vaswani et al. 2017); "both", before and
            after each half and at the end (Gemma 2); "after", after each half and
            at the end (OLMo 2).
        norm_epsilon: what a norm adds to the variance; None is 1e-5 for "layer"
            and 1e-6 for "rms". BERT has 1e-12.
        parallel: whether both halves of a block read the same (Wang and
            Komatsuzaki 2021, GPT-J), not one after the other.
        parallel_norms: whether each half of a parallel block has a norm of its own
            (GPT-NeoX).
        feedforward: the position-wise half of a block.
        dropout: rate after the embedding, on attention weights, on each half.
        use_bias: whether dense layers and norms have biases.
        qkv_bias: whether queries, keys and values have biases; None is as
            ``use_bias``. Qwen2 has these alone.
        initial: how large initial values are.
        dtype: type to compute in; parameters stay float32. "tf32" multiplies them
            with 10 bits of fraction where a GPU can.
    """

    layers: int = within(SIZES, 12)
    heads: int = within(SIZES, 12)
    width: int = within(SIZES, 768)
    kv_heads: int | None = within(SIZES, None)
    head_dim: int | None = within(SIZES, None)
    positions: Positions = Learned()
    mixer: Mixer = Softmax()
    attention: Pattern = Full()
    attention_scale: float | None = None
    softcap: float | None = within("(0, inf)", None)
    qk_norm: QKNorm = "none"
    norm: Norm = "layer"
    norm_at: NormAt = "pre"
    norm_epsilon: float | None = within("(0, inf)", None)
    parallel: bool = False
    parallel_norms: bool = False
    feedforward: FeedForward = MLP()
    dropout: float = within("[0, 1)", 0.0)
    use_bias: bool = False
    qkv_bias: bool | None = None
    initial: Initial = GPT2()
    dtype: Dtype = "float32"


@dataclass(unsafe_hash=True)
class BlockConfig(BlockFields):
    """What a block is handed: the fields of its model, and its place.

    Attributes:
        causal: whether a token sees only those before.
        cross: whether the tokens also attend to another sequence.
        scan: whether one block is compiled and looped over.
        remat: what of a block is computed again in the backward pass.
        attention_form: that of softmax attention.
    """

    causal: bool = True
    cross: bool = False
    scan: bool = False
    remat: Remat = "none"
    attention_form: Form = "auto"

    @classmethod
    def of(cls, model: Any, **changes: Any) -> "BlockConfig":
        """Take the fields of a model, some of them changed."""
        names = [field.name for field in fields(BlockFields)]
        names += ["scan", "remat", "attention_form"]
        taken = {name: getattr(model, name) for name in names}
        taken["dtype"] = array_dtype(model.dtype)
        return cls(**taken | changes)

    @property
    def dim(self) -> int:
        """Width of a head."""
        return self.head_dim or self.width // self.heads

    @property
    def groups(self) -> int:
        """Number of key and value heads."""
        return self.kv_heads or self.heads

    @property
    def score_scale(self) -> float:
        """Factor on the scores of attention."""
        if self.attention_scale is not None:
            return self.attention_scale
        return self.initial.attention_scale(self.dim)

    def multiplications(self, context: int) -> float:
        """Multiplications of one token in one block, forward.

        One for each kernel entry that a token uses, and those of the mixer with what
        the token sees on average: half the context if it is causal. Attention to
        another sequence of as many tokens is counted whole.
        """
        inner, kv_width = self.heads * self.dim, self.groups * self.dim
        projections = 2 * self.width * (inner + kv_width)
        seen = self.attention.average(context, self.layers) * (1 if self.causal else 2)
        total: float = projections + self.mixer.kernels(self.width, inner, self.heads)
        total += self.mixer.products(inner, self.dim, seen)
        if self.cross:
            total += projections + 2 * inner * context
        return total + self.feedforward.kernels(self.width)

    def problems(self) -> Iterator[str]:
        """Say, in a sentence each, why these fields can't go together."""
        sizes = list(self._size_problems())
        yield from sizes
        yield from self._name_problems()
        yield from dtype_problems(self.dtype)
        if not sizes:
            for choice in (
                self.positions,
                self.attention,
                self.mixer,
                self.feedforward,
            ):
                yield from choice.problems(self)
        yield from self.initial.problems()
        if self.parallel_norms and not self.parallel:
            yield "model.parallel_norms needs model.parallel: other blocks have two."
        if self.parallel_norms and self.norm_at in ("post", "after"):
            yield (
                "model.parallel_norms are of what each half reads, and with "
                f"model.norm_at='{self.norm_at}' nothing is normalised before them. "
                "Leave it out, or use 'pre' or 'both'."
            )

    def _size_problems(self) -> Iterator[str]:
        if self.head_dim is None and self.width % self.heads:
            yield (
                f"model.heads={self.heads} doesn't divide model.width={self.width}. "
                f"The nearest that does: {_nearest_divisor(self.width, self.heads)}."
            )
            return
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        if self.heads % kv_heads:
            yield f"model.kv_heads={kv_heads} doesn't divide model.heads={self.heads}."

    def _name_problems(self) -> Iterator[str]:
        named = (
            ("norm", self.norm, tuple(NORMS)),
            ("norm_at", self.norm_at, get_args(NormAt)),
            ("qk_norm", self.qk_norm, get_args(QKNorm)),
        )
        for field, name, names in named:
            if name not in names:
                known = ", ".join(f"'{n}'" for n in names)
                yield f"model.{field}='{name}' is none of {known}."


def _nearest_divisor(whole: int, wanted: int) -> int:
    """The divisor of a number that is nearest to what was wanted, the lower of two."""
    start = min(wanted, whole)
    below = next(n for n in range(start, 0, -1) if whole % n == 0)
    nearer = range(start, min(whole + 1, 2 * start - below))
    return next((n for n in nearer if whole % n == 0), below)
