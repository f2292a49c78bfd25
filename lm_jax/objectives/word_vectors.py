"""Learn word vectors from the words around each word, or from counts of them."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from lm_jax.bounds import within
from lm_jax.kernels.windows import seen_from, window_products, window_sums
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums
from lm_jax.tokenizers.chunks import Coded


class _Neighbours(ObjectiveBase):
    """What SkipGram and BagOfWords share: words and those near them."""

    reads = ("inputs", "near")
    may_read = ("noise", "noise_weight", "nodes", "turns")
    calls = {"__call__": (), "outputs": (), "vectors": ()}
    learns_vectors = True
    names = ("inputs", "noise", "nodes")
    weighs = "near"
    nothing = (
        "no two known words of it stand in one line or document, near each other "
        "(data.window). Use a text of longer lines, a larger vocabulary "
        "(data.tokenizer.size) or, if frequent words are thinned out too much, a "
        "larger data.subsample"
    )
    unit = "nats per pair"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: None = None,
    ) -> tuple[Float[Array, "batch words width"], Any]:
        """Give the vectors of the words; see `OverVocabulary.predict`."""
        return model(batch["inputs"]), carry

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the nats of a pair, or of a word, over a whole split."""
        return {"loss": sums["nats"] / sums["weight"]}


@dataclass(frozen=True)
class SkipGram(_Neighbours):
    """Each word is predicted by each word around it (Mikolov et al. 2013a, b).

    The batch decides how: with "noise" it is told from noise words (2013b, eq.
    4), with "nodes" it is found in a tree (eq. 3).
    """

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
    ) -> Sums:
        """Sum the nats of the pairs of words near each other.

        Args:
            model: WordVectors.
            params: its parameters.
            batch: "inputs" (batch, words); "near" (batch, words, 2 window + 1);
                "noise" and "noise_weight" (batch, groups, shared), or "nodes" and
                "turns" (batch, words, depth).
            key: not used: the data draws the noise.
            carry: not used.

        Returns:
            Nats, over the number of pairs.
        """
        near, vectors = _around(model, params, batch)
        outputs, turns = _answers(model, params, batch)
        of_each = jax.vmap(jax.vmap(window_products, (1, None), 2), 0)
        products, turns = of_each(outputs, vectors), turns[:, None]
        nats = (jax.nn.softplus(-turns * products) * (turns != 0)).sum(-1)
        nats = (nats * near).sum()
        if "noise" in batch:
            row = slice(near.shape[1] // 2, -(near.shape[1] // 2))
            pairs = jax.vmap(seen_from)(near).sum(1)[:, row]
            noise = _noise_nats(model, params, batch, vectors[:, row])
            nats += (pairs * noise).sum()
        weight = near.sum().astype(jnp.float32)
        return Sums(nats, weight, {"nats": nats}, carry)


@dataclass(frozen=True)
class BagOfWords(_Neighbours):
    """Each word is predicted by the mean of the words around it: CBOW.

    Mikolov et al. 2013a, 3.1. The batch decides how, as in SkipGram.
    """

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
    ) -> Sums:
        """Sum the nats of the words that have others near.

        Args: as of SkipGram.

        Returns:
            Nats, over the number of words.
        """
        near, vectors = _around(model, params, batch)
        count = near.sum(1, keepdims=True)
        mean = jax.vmap(window_sums)(near / jnp.maximum(count, 1), vectors)
        outputs, turns = _answers(model, params, batch)
        products = (outputs * mean[:, :, None]).sum(-1)
        nats = (jax.nn.softplus(-turns * products) * (turns != 0)).sum(-1)
        if "noise" in batch:
            nats += _noise_nats(model, params, batch, mean)
        predicted = count[:, 0] > 0
        total, weight = (nats * predicted).sum(), predicted.sum().astype(jnp.float32)
        return Sums(total, weight, {"nats": total}, carry)


@dataclass(frozen=True)
class GloVe(ObjectiveBase):
    """The logarithm of how often two words meet (Pennington et al. 2014).

    Attributes:
        most: count from which on a pair has full weight: x_max in the paper.
        power: of the weight of rarer pairs: alpha.
    """

    most: float = within("(0, inf)", 100.0)
    power: float = within("[0, inf)", 0.75)

    reads = ("inputs", "contexts", "counts")
    calls = {"log_counts": (), "vectors": ()}
    learns_vectors = True
    names = ("inputs", "contexts")
    weighs = "counts"
    nothing = (
        "no two known words of it meet in one line or document (data.window). Use a "
        "text of longer lines or a larger vocabulary (data.tokenizer.size)"
    )
    unit = "weighted square per pair"

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: None = None,
    ) -> tuple[Float[Array, "batch pairs"], Any]:
        """Give the logarithms of how often words meet; see `OverVocabulary.predict`."""
        return model.log_counts(batch["inputs"], batch["contexts"]), carry

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
    ) -> Sums:
        """Sum f(X) (w . w~ + b + b~ - log X)^2 (eq. 8).

        Args:
            model: GlobalVectors.
            params: its parameters.
            batch: "inputs", "contexts" and "counts" (batch, pairs); a count of 0 is
                no pair.
            key, carry: not used.

        Returns:
            The weighted squares, over the number of pairs.
        """
        counts = batch["counts"]
        predicted, _ = model.apply({"params": params}, batch, method=self.predict)
        error = predicted - jnp.log(jnp.maximum(counts, 1e-30))
        weights = jnp.minimum(counts / self.most, 1.0) ** self.power
        weights = weights * (counts > 0)  # which a power of 0 would count too
        squares = (weights * jnp.square(error)).sum()
        weight = (counts > 0).sum().astype(jnp.float32)
        return Sums(squares, weight, {"squares": squares}, carry)

    def scores(self, sums: dict[str, float], text: Coded) -> dict[str, float]:
        """Give the weighted square of a pair over a whole split."""
        return {"loss": sums["squares"] / sums["weight"]}


def _apply(model: nn.Module, params: Any, *ids: Array, method: str = "__call__") -> Any:
    return model.apply({"params": params}, *ids, method=method)


def _around(model, params, batch):
    """Give which words are near, by distance, and the vectors of all that are seen.

    Beyond a row stands some word, which is near none.
    """
    near = jnp.swapaxes(batch["near"], 1, 2)
    reach = near.shape[1] // 2
    ids = jnp.pad(batch["inputs"], ((0, 0), (reach, reach)))
    return near, _apply(model, params, ids)


def _answers(model, params, batch):
    """Give the outputs that answer for each word, and how: 1 is yes, -1 is no."""
    if "nodes" in batch:
        ids, turns = batch["nodes"], batch["turns"]
    else:
        ids = batch["inputs"][..., None]
        turns = jnp.ones_like(ids, jnp.float32)
    return _apply(model, params, ids, method="outputs"), turns


def _noise_nats(model, params, batch, vectors):
    """Give the nats of each vector's noise: sum_m weight_m softplus(v . u_m)."""
    noise = _apply(model, params, batch["noise"], method="outputs")
    grouped = vectors.reshape(*noise.shape[:2], -1, vectors.shape[-1])
    nats = jax.nn.softplus(jnp.einsum("bgnw,bgmw->bgnm", grouped, noise))
    nats = jnp.einsum("bgnm,bgm->bgn", nats, batch["noise_weight"])
    return nats.reshape(vectors.shape[:2])
