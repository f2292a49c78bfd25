"""Learn word vectors from the words around each word, or from counts of them."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.sums import Sums
from lm_jax.tokenizers.chunks import Coded

_BLOCK = 32  # Words whose products with their surroundings are one small matrix.


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
        near = batch["near"]
        vectors = _apply(model, params, batch["inputs"])
        outputs, turns = _answers(model, params, batch)
        reach = near.shape[-1] // 2
        around = _apply(model, params, surroundings(batch["inputs"], reach))
        products = banded_products(outputs, around, reach)
        decisions = (
            jax.nn.softplus(-turns[..., None] * products) * (turns != 0)[..., None]
        )
        nats = (decisions.sum(2) * near).sum()
        if "noise" in batch:
            nats += (_pairs(near) * _noise_nats(model, params, batch, vectors)).sum()
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
        near = batch["near"]
        ids = surroundings(batch["inputs"], near.shape[-1] // 2)
        count = near.sum(-1, keepdims=True)
        around = _apply(model, params, ids)
        mean = banded_sums(near / jnp.maximum(count, 1), around)
        outputs, turns = _answers(model, params, batch)
        products = (outputs * mean[:, :, None]).sum(-1)
        nats = (jax.nn.softplus(-turns * products) * (turns != 0)).sum(-1)
        if "noise" in batch:
            nats += _noise_nats(model, params, batch, mean)
        predicted = count[..., 0] > 0
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


def _pairs(
    near: Bool[Array, "batch words around"],
) -> Float[Array, "batch words"]:
    """Count the pairs in which each word predicts."""
    reach = near.shape[-1] // 2
    padded = jnp.pad(near, ((0, 0), (reach, reach), (0, 0))).astype(jnp.float32)
    words = near.shape[1]
    shifted = (
        padded[:, 2 * reach - k : 2 * reach - k + words, k]
        for k in range(2 * reach + 1)
    )
    return sum(shifted, start=jnp.zeros(near.shape[:2]))


def surroundings(
    ids: Int[Array, "batch words"], reach: int
) -> Int[Array, "batch k seen"]:
    """Give each block of words with `reach` words before and after it.

    Beyond the row stands some word. Vectors are looked up of these: to cut them out of
    those of the row takes longer than to look up a few of them again.
    """
    words = ids.shape[1]
    missing = -words % _BLOCK
    padded = jnp.pad(ids, ((0, 0), (reach, missing + reach)))
    begins = jnp.arange(0, words + missing, _BLOCK)
    return padded[:, begins[:, None] + jnp.arange(_BLOCK + 2 * reach)]


def banded_products(
    outputs: Float[Array, "batch words depth width"],
    around: Float[Array, "batch k seen width"],
    reach: int,
) -> Float[Array, "batch words depth around"]:
    """Multiply the outputs of each word i with the vectors from i - reach to i + reach.

    Blocks of words meet all vectors that any of them needs in one product of matrices,
    and the band is cut out of it: a third of the time of as many shifted products (two
    CPU cores, jax 0.12).

    Args:
        outputs: of the words of a row.
        around: the vectors of their `surroundings`.
        reach: how far they look.
    """
    batch, words, depth, width = outputs.shape
    blocks = _blocks(outputs.reshape(batch, words, -1))
    blocks = blocks.reshape(*blocks.shape[:2], _BLOCK * depth, width)
    products = jnp.einsum("bksw,bktw->bkst", blocks, around)
    products = products.reshape(*products.shape[:2], _BLOCK, depth, -1)
    band = _band(jnp.swapaxes(products, 2, 3), reach)
    return jnp.moveaxis(band, 3, 2).reshape(batch, -1, depth, 2 * reach + 1)[:, :words]


def banded_sums(
    weights: Float[Array, "batch words near"],
    around: Float[Array, "batch k seen width"],
) -> Float[Array, "batch words width"]:
    """Add the vectors around each word, weighted; see `banded_products`."""
    batch, words, near = weights.shape
    matrix = _unband(_blocks(weights), near // 2)
    sums = jnp.einsum("bkst,bktw->bksw", matrix, around)
    return sums.reshape(batch, -1, around.shape[-1])[:, :words]


def _blocks(rows: Float[Array, "batch words n"]) -> Float[Array, "batch k block n"]:
    missing = -rows.shape[1] % _BLOCK
    padded = jnp.pad(rows, ((0, 0), (0, missing), (0, 0)))
    return padded.reshape(rows.shape[0], -1, _BLOCK, rows.shape[-1])


def _band(
    matrix: Float[Array, "*batch block seen"], reach: int
) -> Float[Array, "*batch block around"]:
    """Give entries s to s + 2 reach of row s: rows one longer come out of step."""
    flat = matrix.reshape(*matrix.shape[:-2], -1)
    flat = jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, _BLOCK)])
    return flat.reshape(*matrix.shape[:-1], -1)[..., : 2 * reach + 1]


def _unband(
    band: Float[Array, "*batch block around"], reach: int
) -> Float[Array, "*batch block seen"]:
    """Put a band back where `_band` took it, zeros elsewhere."""
    wide = jnp.pad(band, [(0, 0)] * (band.ndim - 1) + [(0, _BLOCK)])
    flat = wide.reshape(*band.shape[:-2], -1)[..., :-_BLOCK]
    return flat.reshape(*band.shape[:-1], -1)
