"""What decoders, encoders and encoder-decoders share around their blocks."""

import re
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.kernels.attention_forms import Form
from lm_jax.kernels.placement import constrain
from lm_jax.kernels.product import product_of_transpose
from lm_jax.models.block import empty_caches
from lm_jax.models.cache import Cache, written
from lm_jax.models.config import BlockConfig, BlockFields, Remat
from lm_jax.models.dropout import dropout
from lm_jax.models.dtype import array_dtype
from lm_jax.models.linear import Dense
from lm_jax.models.model import Model
from lm_jax.models.moe import MoE
from lm_jax.models.part import Part
from lm_jax.models.patterns import Shared, causally_shared
from lm_jax.models.positions import NoPositions


class Stack(BlockFields, Part, Model):
    """Blocks between an embedding and the logits: the base of the Transformers.

    Attributes:
        embedding_scale: whether embeddings are multiplied by sqrt(width) (Vaswani
            et al. 2017, 3.4; Gemma).
        embedding_norm: whether a norm follows them (BERT, BLOOM).
        tied: whether the embedding also makes the logits.
        logit_bias: whether logits have a bias (BERT, Phi).
        logit_scale: factor on the logits before it; None is 1, or what ``initial``
            says. 1/sqrt(width) in T5 before version 1.1.
        logit_softcap: largest logit; None has no limit (Gemma 2).
        scan: compile one block and loop over it.
        remat: what of a block is computed again in the backward pass, to save memory.
        attention_form: that of softmax attention. An execution's ``compute`` says these
            three when a run is set up.
    """

    embedding_scale: bool = False
    embedding_norm: bool = False
    tied: bool = True
    logit_bias: bool = False
    logit_scale: float | None = None
    logit_softcap: float | None = within("(0, inf)", None)
    scan: bool = field(default=False, metadata={"part": "set up"})
    remat: Remat = field(default="none", metadata={"part": "set up"})
    attention_form: Form = field(default="auto", metadata={"part": "set up"})

    def setup(self):
        """Declare what stands at both ends: the embedding and the logits' kernel."""
        config = self.config
        std = config.initial.std("embedding", self.vocab_size, self.width, self.layers)
        normal, shape = nn.initializers.normal(std), (self.vocab_size, self.width)
        self.embedding = self.param("embedding", normal, shape)
        if not self.tied:
            std = config.initial.std("lm_head", self.width, self.width, self.layers)
            self.lm_head = Dense(
                self.width, self.vocab_size, std, dtype=array_dtype(self.dtype)
            )
        if self.logit_bias:
            zeros = nn.initializers.zeros
            self.lm_head_bias = self.param("lm_head_bias", zeros, (self.vocab_size,))

    @property
    def config(self) -> BlockConfig:
        """What the blocks are handed."""
        return BlockConfig.of(self, causal=self.causal)

    @property
    def recurrent(self) -> bool:
        """Whether the cache has one size, and the text no limit."""
        return self.mixer.constant and self.positions == NoPositions()

    @property
    def sequential(self) -> bool:
        """Whether each token is mixed with a state that those before it left."""
        return self.mixer.constant

    @property
    def stacks(self) -> dict[str, int]:
        """Blocks of each stack, by what their names begin with."""
        return {"": self.layers}

    @property
    def below(self) -> str:
        """An expression of what tokens are read with, and of norms that follow."""
        return "^embedding|^types/|^((source|target)/)?positions"

    def logits(
        self, hidden: Float[Array, "batch time width"]
    ) -> Float[Array, "batch time vocab"]:
        """Score each token of the vocabulary, float32, from features."""
        if self.tied:
            kernel = jnp.asarray(self.whole("embedding"), array_dtype(self.dtype))
            logits = product_of_transpose(hidden, kernel, jnp.float32)
        else:
            logits = self.lm_head(hidden, jnp.float32)
        logits = constrain(logits, "batch", "time", "vocab")
        scale = self.logit_scale
        scale = self.initial.logit_scale(self.width) if scale is None else scale
        logits = logits if scale == 1.0 else logits * scale
        logits = logits + self.lm_head_bias if self.logit_bias else logits
        return capped(logits, self.logit_softcap)

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: the embedding."""
        return self.embedding

    def embed(
        self,
        tokens: Int[Array, "batch time"],
        shared: Shared,
        placed: Part | None = None,
        more: Float[Array, "batch time width"] | None = None,
    ) -> Float[Array, "batch time width"]:
        """Turn tokens into what the first block reads.

        Args:
            tokens: what was read.
            shared: what blocks share.
            placed: adds the positions, and has the norm that follows; None declares
                both in the model itself.
            more: added to the embeddings.
        """
        x = jnp.take(self.whole("embedding", "lookup"), tokens, axis=0)
        x = constrain(x.astype(array_dtype(self.dtype)), "batch", "time", "width")
        if self.embedding_scale:
            x = x * jnp.asarray(self.width**0.5, x.dtype)
        if placed is None:
            x = self.positions.embed(self, x, shared.positions)
        else:
            x = placed(x, shared.positions)
        x = x if more is None else x + more.astype(x.dtype)
        if self.embedding_norm and placed is None:
            x = self.normalise(x, "embedding_norm")
        return dropout(x, self.dropout, shared.dropout_keys, "embedding")

    def left_to_right(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"] | None,
        segments: Int[Array, "batch time"] | None,
        cache: Cache | None,
        dropout_keys: Key[Array, " batch"] | None,
        slots: Int[Array, "batch time"] | None,
    ) -> tuple[Shared, Cache | None]:
        """Say what blocks share; note in the cache which tokens stand where."""
        if cache is None or cache.positions is None:
            time = tokens.shape[1]
            return causally_shared(time, positions, segments, dropout_keys), cache
        if positions is None:
            positions = jnp.arange(tokens.shape[1])
        positions = jnp.broadcast_to(positions, tokens.shape)
        shared, cache = written(cache, positions, segments, slots)
        return shared._replace(dropout_keys=dropout_keys), cache

    def empty_cache(self, batch: int, slots: int) -> Any:
        """What is left of no token yet.

        Args:
            batch: number of rows.
            slots: number of tokens that can be remembered; a recurrent model
                has one size for all.
        """
        layers = empty_caches(self.config, batch, slots)
        if self.mixer.constant:
            return Cache(None, None, layers)
        nothing = jnp.zeros((batch, slots), jnp.int32)
        return Cache(nothing, nothing, layers)

    @property
    def rewinds(self) -> bool:
        """Whether tokens are forgotten once others are read at their positions."""
        return not self.mixer.constant

    def rows_of(self, cache: Any, rows: Int[Array, " chosen"]) -> Any:
        """The cache of chosen rows, in their order; a row may come several times.

        Args:
            cache: of some rows.
            rows: numbers of those that are wanted.
        """
        layers = jax.tree.map(
            lambda part: part[:, rows] if self.scan else part[rows], cache.layers
        )
        of_rows = cache._replace(layers=None)
        of_rows = jax.tree.map(lambda part: part[rows], of_rows)
        return of_rows._replace(layers=layers)

    def filled(self, vocab_size: int, context: int) -> "Stack":
        """The same model with what only the data knows.

        Raises:
            ValueError: the positions were made for a shorter context.
        """
        positions = self.positions.for_context(context)
        return self.clone(vocab_size=vocab_size, positions=positions)

    def without_logits(self) -> "Stack":
        """The same model without parameters that only its logits need."""
        return self.clone(logit_bias=False) if self.logit_bias else self

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from self.config.problems()

    def axis_sizes(self) -> Iterator[tuple[str, str, int]]:
        """Name heads, experts where there are any, and layers if they are scanned."""
        yield "heads", "heads", self.heads
        if isinstance(self.feedforward, MoE):
            yield "experts", "feedforward.experts", self.feedforward.experts
        if self.scan:
            yield "layers", "layers", self.layers

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token, forward and backward.

        Six for each kernel entry, and six for each of the scores and mixed values
        of the tokens that are seen on average: context/2 of causal attention
        (Kaplan et al. 2020, 2.1, with attention counted at half).
        """
        block = self.config.multiplications(context)
        return 6.0 * (self.layers * block + self.width * self.vocab_size)


def capped(logits: Float[Array, "*batch"], cap: float | None) -> Float[Array, "*batch"]:
    """Bend logits to within ``cap``: cap * tanh(x / cap) (Gemma Team 2024, 2)."""
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def laid_out(
    model: Any, scan: bool, remat: Remat = "none", form: Form = "auto"
) -> nn.Module:
    """The same model, with its operations laid out in another way.

    Args:
        model: whose.
        scan: whether blocks are looped over.
        remat: what of them is computed again.
        form: of softmax attention.

    Raises:
        ValueError: it has no such blocks.
    """
    if inner := _inside(model):
        return model.with_body(laid_out(inner, scan, remat, form))
    if isinstance(model, Stack):
        if form != "auto" and model.mixer.constant:
            raise ValueError(
                f"execution.compute.attention='{form}' is a form of softmax "
                f"attention, and model.mixer={model.mixer} is none. Leave it out."
            )
        return model.clone(scan=scan, remat=remat, attention_form=form)
    for name, asked, what in (
        ("scan", scan, "loops over equal blocks"),
        ("remat", remat != "none", "computes blocks again"),
        ("attention", form != "auto", "is a form of softmax attention"),
    ):
        if asked:
            raise ValueError(
                f"execution.compute.{name} {what}, and {type(model).__name__} has "
                f"none. Leave {name} out."
            )
    return model


def stack_blocks(tree: Any) -> Any:
    """Turn unrolled parameters (block_0, block_1, ...) into scanned ones (blocks).

    Args:
        tree: parameters, or anything that holds trees of their form.
    """
    return _in_each(tree, r".*block_0", _stacked)


def unstack_blocks(tree: Any) -> Any:
    """Turn scanned parameters into unrolled ones; see `stack_blocks`."""
    return _in_each(tree, r".*blocks", _unstacked)


def _in_each(tree: Any, name: str, change: Callable[[dict], dict]) -> Any:
    """Change the dictionaries that have such a name in them."""

    def has_it(node: Any) -> bool:
        return isinstance(node, dict) and any(re.fullmatch(name, key) for key in node)

    return jax.tree.map(
        lambda node: change(node) if has_it(node) else node, tree, is_leaf=has_it
    )


def _stacked(params: dict) -> dict:
    stacks: dict[str, list] = {}
    for name in sorted(params, key=lambda name: (len(name), name)):
        if found := re.fullmatch(r"(.*block)_\d+", name):
            stacks.setdefault(f"{found[1]}s", []).append(params[name])
    rest = {k: v for k, v in params.items() if not re.fullmatch(r".*block_\d+", k)}
    stacked = {
        name: jax.tree.map(lambda *parts: jnp.stack(parts), *blocks)
        for name, blocks in stacks.items()
    }
    return rest | stacked


def _unstacked(params: dict) -> dict:
    unrolled = {}
    for name, value in params.items():
        if not name.endswith("blocks"):
            unrolled[name] = value
            continue
        layers = max((leaf.shape[0] for leaf in jax.tree.leaves(value)), default=0)
        for index in range(layers):
            block = jax.tree.map(lambda part: part[index], value)  # noqa: B023
            unrolled[f"{name.removesuffix('s')}_{index}"] = block
    return unrolled


def initialise(
    model: nn.Module, key: Key[Array, ""], *inputs: Any, method: Any = None
) -> dict:
    """Initial parameters, by path and shape alone: scanned equals unrolled.

    Flax would split one key over scanned layers; here a scanned model starts
    from the stacked values of its unrolled twin.

    Args:
        model: whose.
        key: of the initial values.
        inputs: what the model is called with.
        method: of the model, or a function of it; None is its call.
    """
    params = unrolled(model).init(key, *inputs, method=method)["params"]
    return params if unrolled(model) is model else stack_blocks(params)


def unrolled(model: Any) -> Any:
    """The model with its layers written out, if it scans them."""
    inner = _inside(model) or model
    if not getattr(inner, "scan", False):
        return model
    written = inner.clone(scan=False)
    return written if inner is model else model.with_body(written)


def _inside(model: Any) -> Any:
    """The model that another one is made around; None of one that stands alone."""
    return model.body if hasattr(model, "with_body") else None
