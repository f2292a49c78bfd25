"""Mixture of experts: each token is served by some of many feed-forward layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from lm_jax.bounds import SIZES, within
from lm_jax.kernels.experts import Experts, Layer, mixture
from lm_jax.models.feedforward import (
    Activation,
    activate,
    asked_width,
    width_problems,
)
from lm_jax.models.linear import Dense
from lm_jax.models.part import Part

__all__ = ["MoE"]


@dataclass(frozen=True)
class MoE:
    """A router sends each token to ``k`` of the experts (Shazeer et al. 2017).

    No token is dropped, and no other row changes what it is given. Only the k
    experts that serve a token are computed for it, in rows sorted by their expert.

    Attributes:
        experts: number of feed-forward layers.
        k: how many of them serve a token.
        ratio: hidden width of an expert over model width.
        activation: what bends.
        gated: whether one half of an expert gates the other (Shazeer 2020).
        normalised: whether the weights of a token's k experts sum to one (Mixtral)
            or are their chances among all experts (OLMoE, Qwen2-MoE, DeepSeek-V2).
        shared: experts that serve every token beside its k, as one layer (DeepSeek).
        shared_router: whether a sigmoid says how much of them a token takes
            (Qwen2-MoE).
        balance: weight of the loss that keeps the experts equally busy.
    """

    experts: int = within(SIZES, 8)
    k: int = within(SIZES, 2)
    ratio: float = 4.0
    activation: Activation = "gelu"
    gated: bool = False
    normalised: bool = True
    shared: int = within("[0, 2147483647]", 0)
    shared_router: bool = False
    balance: float = within("[0, inf)", 0.01)

    def hidden(self, width: int) -> int:
        """Hidden width of an expert for a model width."""
        return asked_width(self.ratio, width)

    def kernels(self, width: int) -> int:
        """Number of kernel entries that serve a token: the routers' and experts'."""
        matrices = 3 if self.gated else 2
        served = matrices * (self.k + self.shared) * self.hidden(width)
        return width * (self.experts + self.shared_router + served)

    def problems(self, config: Any) -> Iterator[str]:
        """Say why a block of this `BlockConfig` can't have it."""
        yield from width_problems(self, config)
        if self.k > self.experts:
            yield (
                f"model.feedforward.k={self.k} experts for a token can't be chosen "
                f"from model.feedforward.experts={self.experts}."
            )
        if self.shared_router and not self.shared:
            yield (
                "model.feedforward.shared_router says how much a token takes of shared "
                "experts, and model.feedforward.shared=0. Choose some, or leave it out."
            )

    def __call__(
        self,
        part: Part,
        x: Float[Array, "batch time width"],
        segments: Int[Array, "batch time"] | None = None,
    ) -> Float[Array, "batch time width"]:
        """Act on each token alone; penalise experts that get more than others.

        Args:
            part: of the block.
            x: what it reads.
            segments: of each token; 0 is padding, which keeps no expert busy. None is
                a row without any.
        """
        width = x.shape[-1]
        hidden = self.hidden(width)
        router = part.dense(width, self.experts, "hidden", "router")
        chances = jax.nn.softmax(router(x).astype(jnp.float32), axis=-1)
        weights = chosen(chances, self.k, self.normalised)
        real = jnp.ones(x.shape[:2]) if segments is None else segments > 0
        unequal = imbalance(chances, weights > 0, self.k, real)
        part.penalise("balance", self.balance * unequal)

        names = ("gate", "up") if self.gated else ("up",)
        inner = [
            part.dense(width, hidden, "hidden", name, experts=self.experts)
            for name in names
        ]
        outer = part.dense(hidden, width, "residual", "down", experts=self.experts)
        layers = Experts(
            tuple(_layer(each, x.dtype) for each in inner), _layer(outer, x.dtype)
        )
        y = mixture(x, weights.astype(x.dtype), self.k, layers, self._bend)
        return y + self._shared(part, x) if self.shared else y

    def _bend(self, *found: Array) -> Array:
        """What comes between the layers of an expert."""
        if not self.gated:
            return activate(self.activation, *found)
        gate, up = found
        return activate(self.activation, gate) * up

    def _shared(self, part: Part, x: Array) -> Array:
        """What the shared experts give each token (Dai et al. 2024, 3.2)."""
        width = x.shape[-1]
        hidden = self.shared * self.hidden(width)
        names = ("shared_gate", "shared_up") if self.gated else ("shared_up",)
        found = [part.dense(width, hidden, "hidden", name)(x) for name in names]
        bent = self._bend(*found)
        y = part.dense(hidden, width, "residual", "shared_down")(bent)
        if not self.shared_router:
            return y
        share = part.dense(width, 1, "hidden", "shared_router")(x)
        return jax.nn.sigmoid(share.astype(jnp.float32)).astype(x.dtype) * y


def _layer(dense: Dense, dtype: Any) -> Layer:
    bias = dense.bias.astype(dtype) if dense.use_bias else None
    return Layer(dense.whole_kernel().astype(dtype), bias)


def chosen(
    chances: Float[Array, "batch time experts"], k: int, normalised: bool = True
) -> Float[Array, "batch time experts"]:
    """Weights of the k likeliest experts; the others are zero.

    They sum to one (Lepikhin et al. 2021), or are the chances if not normalised. A
    single expert always has its chance: the router learns by it (Fedus et al. 2022,
    eq. 2).
    """
    _, best = jax.lax.top_k(chances, k)
    kept = jax.nn.one_hot(best, chances.shape[-1]).sum(-2) * chances
    if k == 1 or not normalised:
        return kept
    return kept / kept.sum(-1, keepdims=True)


def imbalance(
    chances: Float[Array, "batch time experts"],
    served: Bool[Array, "batch time experts"],
    k: int,
    real: Shaped[Array, "batch time"],
) -> Float[Array, " batch"]:
    """How unequally each row's experts are used, 1 at best.

    Within a row, as DeepSeek-V3 (2024, eq. 17 to 20), so that no other row changes
    it: experts * sum over them of (share of the tokens) * (mean chance).

    Args:
        chances: of the experts, for each token.
        served: by which of them it is.
        k: how many these are.
        real: 0 where there is no token.
    """
    tokens = jnp.maximum(real.sum(1, keepdims=True), 1)

    def mean(x: Shaped[Array, "batch time experts"]) -> Float[Array, "batch experts"]:
        return (x * real[..., None]).sum(1) / tokens

    return chances.shape[-1] * (mean(served) / k * mean(chances)).sum(-1)
