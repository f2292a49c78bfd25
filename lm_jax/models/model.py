"""What a model offers to those who train, evaluate and use it."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.bounds import within
from lm_jax.kernels.placement import Use, Weight, gathered
from lm_jax.models.dtype import array_dtype

__all__ = ["Model"]


class Remembered(NamedTuple):
    """The cache of a model that has none of its own: the tokens themselves."""

    tokens: Int[Array, "batch slots"]


class Model(nn.Module, kw_only=True):
    """The base of models: what training, evaluation and generation ask of them.

    A language model of one's own has its fields, ``features`` and ``logits``; the
    rest is here, and each can be written anew. ``features(tokens, positions,
    segments, cache, dropout_keys)`` reads tokens (batch, time) and gives a vector of
    each (batch, time, width) and the cache with them, None without one. Arguments
    that a model has no use for it takes as ``**_``. ``logits(hidden)`` scores the
    vocabulary, float32, from features.

    Attributes:
        causal: whether a token's features depend on it and those before it alone;
            None where they are not of tokens.
        recurrent: whether the cache has one size, and the text no limit.
        sequential: whether tokens are read one after the other, each from the state
            that those before it left: then no two devices can share a text.
        reads: fields of the examples that it can't do without, beside tokens.
        one_tower: whether queries and passages are read by the same parameters, where
            the model gives vectors of both.
        tables: whether each parameter has a row for each token, and no row is read
            but those that a batch names.
        vocab_size: number of tokens; 0 takes the size of the tokenizer.
    """

    causal: ClassVar[bool | None] = True
    recurrent: ClassVar[Any] = False
    sequential: ClassVar[Any] = False
    reads: ClassVar[tuple[str, ...]] = ()
    one_tower: ClassVar[Any] = False
    tables: ClassVar[bool] = False
    features: ClassVar[Any]
    logits: ClassVar[Any]

    vocab_size: int = within("[0, 2147483647]", 0)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Predict the token after each token: logits of the ``features``.

        Args:
            args, kwargs: as of ``features``.

        Returns:
            The logits (batch, time, vocab), float32, and the cache with these tokens
            (or None).
        """
        if isinstance(kwargs.get("cache"), Remembered):
            return self._again(*args, **kwargs)
        hidden, cache = self.features(*args, **kwargs)
        return self.logits(hidden), cache

    def whole(self, name: str, use: Use = "product") -> Weight:
        """Give a parameter of the model's own, wherever its parts lie; see `gathered`.

        Args:
            name: of the parameter.
            use: "product", or "lookup" of rows by their number.
        """
        dtype = array_dtype(getattr(self, "dtype", "float32"))
        return gathered(getattr(self, name), (*self.path, name), dtype, use)

    def _again(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        cache: Remembered,
    ) -> tuple[Float[Array, "batch time vocab"], Remembered]:
        """Read all that is remembered again: what stands after a token changes nothing.

        Args:
            tokens: new ones.
            positions: where each stands.
            segments: 0 is padding, which is not remembered.
            cache: the tokens before, each at its position.
        """
        read = cache.tokens
        slots = jnp.where(segments == 0, read.shape[1], positions)
        rows = jnp.arange(read.shape[0])[:, None]
        read = read.at[rows, slots].set(tokens, mode="drop")
        hidden, _ = self.features(read)
        hidden = jnp.take_along_axis(hidden, positions[..., None], axis=1)
        return self.logits(hidden), Remembered(read)

    @property
    def caches(self) -> bool:
        """Whether features go on from a cache; else all tokens are read again."""
        return type(self).empty_cache is not Model.empty_cache

    def empty_cache(self, batch: int, slots: int) -> Any:
        """What is left of no token yet.

        Args:
            batch: number of rows.
            slots: number of tokens that can be remembered.
        """
        return Remembered(jnp.zeros((batch, slots), jnp.int32))

    def cleared(self, cache: Any) -> Any:
        """The cache of no token again; what was read of a source stays.

        Args:
            cache: of some tokens.
        """
        return jax.tree.map(jnp.zeros_like, cache)

    @property
    def rewinds(self) -> bool:
        """Whether tokens are forgotten once others are read at their positions."""
        return not self.recurrent

    def rows_of(self, cache: Any, rows: Int[Array, " chosen"]) -> Any:
        """The cache of chosen rows, in their order; a row may come several times.

        Args:
            cache: of some rows.
            rows: numbers of those that are wanted.
        """
        return jax.tree.map(lambda part: part[rows], cache)

    def filled(self, vocab_size: int, context: int) -> Any:
        """The same model with what only the data knows.

        Raises:
            ValueError: the model can't read so many tokens.
        """
        return self.clone(vocab_size=vocab_size)

    @property
    def stacks(self) -> dict[str, int]:
        """Blocks of each stack, by what their names begin with; none by itself."""
        return {}

    def without_logits(self) -> Any:
        """The same model without parameters that only its logits need."""
        return self

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from ()

    def axis_sizes(self) -> Iterator[tuple[str, str, int]]:
        """Name logical axes that come in few parts, with the field and size of each."""
        yield from ()

    def flops_per_token(self, context: int) -> float | None:
        """Floating point operations to train on one token, forward and backward.

        None is six for each parameter (Kaplan et al. 2020, 2.1).
        """
        return None


def lacking(model: object, calls: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Name what a model doesn't offer: "encode", or "source in features".

    Args:
        model: a model, or the class of one.
        calls: methods that are called, and the arguments handed to each by name.
    """
    found = []
    for method, arguments in calls.items():
        own = getattr(model, method, None)
        if not callable(own):
            found.append(method)
            continue
        taken = inspect.signature(own).parameters.values()
        if any(argument.kind is argument.VAR_KEYWORD for argument in taken):
            continue
        names = {argument.name for argument in taken}
        found += [f"{name} in {method}" for name in arguments if name not in names]
    return found


def unmet(model: object) -> list[str]:
    """Name what every `Model` has and this one lacks."""
    return [name for name in _OFFERED if not hasattr(model, name)]


_OFFERED = (
    "init",
    "apply",
    "filled",
    "problems",
    "flops_per_token",
    "empty_cache",
    "cleared",
    "rows_of",
    "rewinds",
    "causal",
    "recurrent",
    "sequential",
    "axis_sizes",
    "reads",
    "vocab_size",
)
