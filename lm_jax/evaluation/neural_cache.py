"""A cache of what was read, beside a trained model (Grave et al. 2017)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lm_jax.bounds import within
from lm_jax.errors import UserError
from lm_jax.evaluation.fitted import Fitted, Found, Planned, Progress
from lm_jax.models.cache import continued
from lm_jax.platform import products_of

Batch = dict[str, Array]

NOT_CARRIED = (
    "A cache remembers what was read before, and this run's data is read in windows "
    "apart from each other. Train with --data CarriedStream."
)


@dataclass(frozen=True)
class NeuralCache:
    """p(w) = (1 - weight) p_model(w) + weight p_cache(w) (Grave et al. 2017, eq. 7).

    p_cache(w) adds up exp(theta h.h_i) over the pairs (h_i, w) of features and the
    word that followed, of the last ``size`` words (eq. 6). Where none has been
    read yet, p is the model's. The defaults are those of Merity et al. 2018 for
    Penn Treebank.
    """

    size: int = 500
    """Pairs that are remembered."""
    theta: float = within("[0, inf)", 1.0)
    """How much more alike features count; 0 counts words."""
    weight: float = 0.1
    """Share of the cache: lambda in the paper."""
    every: str | None = None
    """How often; None is whenever the watched evaluation is made."""

    watched: ClassVar[str] = "loss"
    larger_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what is no cache, or no probability."""
        if self.size < 1:
            raise UserError(f"cache.size={self.size} must be 1 or more.")
        if not 0 <= self.theta < math.inf:
            raise UserError(f"cache.theta={self.theta} must be 0 or more.")
        if not 0 <= self.weight < 1:
            raise UserError(f"cache.weight={self.weight} is not in [0, 1).")

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Score a whole split with a cache of the words before."""
        return Found(fitted.score_with_cache(split, self, progress))

    def unfit(self, planned: Planned) -> Iterator[str]:
        """Say why it can't be made."""
        if planned.uncached is not None:
            yield planned.uncached


class CacheCarry(NamedTuple):
    """What is left of the batches before; row r is lane r, the latest pair last.

    Attributes:
        model: the model's own carry, or None.
        features: of the pairs, float32.
        words: that followed them.
        stored: how many pairs there are, at the end of a row.
    """

    model: Any
    features: Float[Array, "lanes size width"]
    words: Int[Array, "lanes size"]
    stored: Int[Array, " lanes"]


def empty_cache_carry(
    model: nn.Module, params: Any, cache: NeuralCache, lanes: int
) -> CacheCarry:
    """Give the carry of no token yet.

    Args:
        model: a recurrent language model.
        params: its parameters, or their shapes.
        cache: what is remembered beside the model's own carry.
        lanes: rows of a batch.
    """
    carry = model.empty_cache(lanes, 0)
    token = jax.ShapeDtypeStruct((lanes, 1), jnp.int32)
    batch = {"inputs": token}

    def features_of(params, batch, carry):
        return _read(model, params, batch, carry)[1]

    width = jax.eval_shape(features_of, params, batch, carry).shape[-1]
    return CacheCarry(
        carry,
        jnp.zeros((lanes, cache.size, width)),
        jnp.zeros((lanes, cache.size), jnp.int32),
        jnp.zeros(lanes, jnp.int32),
    )


def make_cache_step(
    model: nn.Module, cache: NeuralCache
) -> Callable[[Any, Batch, CacheCarry], tuple[dict, CacheCarry]]:
    """Make ``cache_step(params, batch, carry) -> (sums, carry)``.

    It stands in for the evaluation step where batches continue each other, as
    those of `CarriedStream`: "starts" (batch,) is 1 where a row begins anew, and
    "mask" (batch, time) 0 at the padding at its end. The sums are "nats" and
    "weight", as of `NextToken`.
    """

    def cache_step(params: Any, batch: Batch, carry: CacheCarry):
        carry = continued(carry, batch)
        targets = batch["targets"]
        mask = batch.get("mask", jnp.ones(targets.shape))
        logits, features, remembered = _read(model, params, batch, carry.model)
        from_model = jnp.take_along_axis(
            jax.nn.log_softmax(logits), targets[..., None], axis=-1
        )[..., 0]
        pairs, words, seen = _pairs(carry, features, targets)
        scores = cache.theta * jnp.einsum("btw,bpw->btp", features, pairs)
        log_p = _mixed(from_model, scores, seen, words, targets, cache.weight)
        nats = -(log_p * mask).sum()
        kept = _latest(remembered, carry, pairs, words, mask)
        return {"nats": nats, "weight": mask.sum()}, kept

    return cache_step


def _read(model: nn.Module, params: Any, batch: Batch, carry: Any):
    """Give the logits, the features before them in float32, and the carry."""
    with products_of(model):
        hidden, carry = model.apply(
            {"params": params},
            batch["inputs"],
            positions=batch.get("positions"),
            segments=batch.get("segments"),
            cache=carry,
            method="features",
        )
        logits = model.apply({"params": params}, hidden, method="logits")
    return logits, hidden.astype(jnp.float32), carry


def _pairs(
    carry: CacheCarry,
    features: Float[Array, "lanes time width"],
    targets: Int[Array, "lanes time"],
) -> tuple[
    Float[Array, "lanes pairs width"],
    Int[Array, "lanes pairs"],
    Bool[Array, "lanes time pairs"],
]:
    """Put the pairs of a segment after those before; say which a token sees.

    The word after token t is known to token t + 1, so token t sees the ``size``
    pairs that stand before its own.
    """
    size, time = carry.words.shape[1], targets.shape[1]
    pairs = jnp.concatenate([carry.features, features], axis=1)
    words = jnp.concatenate([carry.words, targets], axis=1)
    own = size + jnp.arange(time)[:, None]
    pair = jnp.arange(size + time)
    near = (pair < own) & (pair >= own - size)
    read = pair >= size - carry.stored[:, None]
    return pairs, words, near & read[:, None]


def _mixed(
    from_model: Float[Array, "lanes time"],
    scores: Float[Array, "lanes time pairs"],
    seen: Bool[Array, "lanes time pairs"],
    words: Int[Array, "lanes pairs"],
    targets: Int[Array, "lanes time"],
    weight: float,
) -> Float[Array, "lanes time"]:
    """Give log((1 - weight) p_model + weight p_cache) of the targets."""

    def log_sum(chosen):
        return jax.nn.logsumexp(jnp.where(chosen, scores, -jnp.inf), axis=-1)

    right = words[:, None] == targets[..., None]
    from_cache = log_sum(seen & right) - log_sum(seen)
    both = jnp.logaddexp(from_model + jnp.log1p(-weight), from_cache + jnp.log(weight))
    return jnp.where(seen.any(axis=-1), both, from_model)


def _latest(
    model_carry: Any,
    carry: CacheCarry,
    pairs: Float[Array, "lanes pairs width"],
    words: Int[Array, "lanes pairs"],
    mask: Float[Array, "lanes time"],
) -> CacheCarry:
    """Keep each row's last pairs before its padding."""
    size = carry.words.shape[1]
    real = mask.sum(axis=1).astype(jnp.int32)
    last = real[:, None] + jnp.arange(size)
    return CacheCarry(
        model_carry,
        jnp.take_along_axis(pairs, last[..., None], axis=1),
        jnp.take_along_axis(words, last, axis=1),
        jnp.minimum(carry.stored + real, size),
    )
