"""Low-rank adapters, seen by a model as part of the matrices that they adapt."""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from lm_jax.bounds import SIZES, check, within
from lm_jax.errors import UserError
from lm_jax.selectors import is_scanned, parted, path_name, select

_SUFFIX = "_lora"
_ADAPTER = f"{_SUFFIX}/[ab]$"
_PURPOSE = zlib.crc32(b"lora")


def unaccompanied(paths: Iterable[str]) -> list[str]:
    """Give the matrices that adapters change, and that aren't beside these.

    Args:
        paths: of parameters, adapters among them.
    """
    there = set(paths)
    adapted = {re.sub(_ADAPTER, "", p) for p in there if re.search(_ADAPTER, p)}
    return sorted(adapted - there)


@dataclass(frozen=True)
class LoRA:
    """Train a product of two thin matrices beside each of some, and nothing else.

    A model reads W + scale / rank * A B in place of W, where A is (inputs, rank) and B
    (rank, outputs) (Hu et al. 2021, 4.1). A begins random, B with zeros, so that the
    first step's logits are the base's, bit for bit. What the model computes is never
    another: any parameter of two axes can be adapted (embeddings, tied or not, and
    each expert of a stack too), in any layout on devices. A run that is read back is
    merged: it is as fast as its base. In training the sum costs a product as large as
    ``rank`` tokens make, and the gradient of W is made on the way to those of A and B:
    what is saved is the optimizer's state.

    Adapters of "query/kernel" are the parameters "query/kernel_lora/a" and ".../b",
    which decay, rates and other selectors can name.

    Attributes:
        matrices: which are adapted: (expression, true or false) pairs. The paper's
            choice: those that make queries and values.
        rank: columns of A.
        scale: of their product, over the rank: alpha in the paper.
        dropout: the share of its inputs that A does not read in a step of training,
            drawn anew for each step and matrix, and the same for all tokens of a step:
            so a sum of matrices stays one. The paper's programs draw for each token.
        whole: expressions of other parameters that are trained too, as a new head.
    """

    matrices: tuple[tuple[str, bool], ...] = (
        ("attention/(query|value)/kernel$", True),
        (".*", False),
    )
    rank: int = within(SIZES, 8)
    scale: float = within("(0, inf)", 16.0)
    dropout: float = within("[0, 1)", 0.0)
    whole: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no rank and no scale."""
        check(self, "adapter")

    def added(self, params: Any, key: Key[Array, ""]) -> Any:
        """Give parameters, with those of the adapters beside them.

        Args:
            params: of the base; its layers may be scanned, if nothing but shapes is
                asked for.
            key: of the first values. No other parameter's depend on it.

        Raises:
            UserError: an expression matches nothing, or what is no matrix; the rank is
                no smaller than a matrix is.
        """
        chosen = select(self.matrices, params, "adapter.matrices")
        self._check(params, chosen)
        return self._grown(params, chosen, jax.random.fold_in(key, _PURPOSE), "")

    def seen(self, params: Any, key: Key[Array, ""] | None = None) -> Any:
        """Give the parameters that the model is called with: the adapted matrices.

        Args:
            params: of the base, with adapters beside them.
            key: of what is dropped; None drops nothing, as after training.
        """
        if key is None or not self.dropout:
            return self._merged(params, None, "")
        return self._merged(params, jax.random.fold_in(key, _PURPOSE), "")

    def frozen(self, params: Any) -> Any:
        """Say of each parameter, adapters among them, whether it stays as it is.

        Raises:
            UserError: an expression of ``whole`` matches nothing.
        """
        trained = (_ADAPTER, *self.whole)
        selector = (*((expression, False) for expression in trained), (".*", True))
        return select(selector, params, "adapter.whole")

    def _check(self, params: Any, chosen: Any) -> None:
        """Refuse to adapt nothing, or what has no thinner product."""
        if not any(jax.tree.leaves(chosen)):
            raise UserError("adapter.matrices chooses no matrix to adapt.")
        adapted = parted(params, chosen)[0]
        for path, leaf in jax.tree_util.tree_leaves_with_path(adapted):
            name = path_name(path)
            shape = leaf.shape[is_scanned(name) :]
            if len(shape) < 2:
                raise UserError(
                    f"adapter.matrices chooses '{name}', which is no matrix. Let an "
                    "expression end in 'kernel$' or 'embedding$'."
                )
            if self.rank >= min(shape[-2:]):
                raise UserError(
                    f"adapter.rank={self.rank}: '{name}' is {shape[-2]} x {shape[-1]}, "
                    f"and adapters of it need a rank below {min(shape[-2:])}."
                )

    def _grown(
        self, params: dict, chosen: dict, key: Key[Array, ""], above: str
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in params.items():
            path = above + name
            if isinstance(value, dict):
                found[name] = self._grown(value, chosen[name], key, path + "/")
                continue
            found[name] = value
            if chosen[name]:
                own = jax.random.fold_in(key, zlib.crc32(path.encode()))
                found[name + _SUFFIX] = self._first(value.shape, own)
        return found

    def _first(self, shape: tuple[int, ...], key: Key[Array, ""]) -> dict[str, Array]:
        *stack, inputs, outputs = shape
        normal = jax.random.normal(key, (*stack, inputs, self.rank))
        zeros = jnp.zeros((*stack, self.rank, outputs))
        return {"a": normal * inputs**-0.5, "b": zeros}

    def _merged(self, params: dict, key: Key[Array, ""] | None, above: str) -> Any:
        found = {}
        for name, value in params.items():
            path = above + name
            if name.endswith(_SUFFIX):
                continue
            if isinstance(value, dict):
                found[name] = self._merged(value, key, path + "/")
            elif (thin := params.get(name + _SUFFIX)) is None:
                found[name] = value
            else:
                a = thin["a"] if key is None else self._dropped(thin["a"], key, path)
                # In full precision wherever it runs: merged, it is the same everywhere.
                change = jnp.matmul(a, thin["b"], precision="highest")
                found[name] = value + self.scale / self.rank * change
        return found

    def _dropped(
        self, a: Float[Array, "... inputs rank"], key: Key[Array, ""], path: str
    ) -> Float[Array, "... inputs rank"]:
        """Leave out rows of A, each layer's own, scanned or not."""
        layer = re.search(r"block_(\d+)", path)
        name = re.sub(r"block_\d+", "blocks", path)
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))

        def kept(layer: Any, shape: tuple[int, ...]) -> Bool[Array, "..."]:
            drawn = jax.random.fold_in(own, layer)
            return jax.random.bernoulli(drawn, 1 - self.dropout, (*shape, 1))

        if is_scanned(path):
            rows = jax.vmap(lambda k: kept(k, a.shape[1:-1]))(jnp.arange(len(a)))
        else:
            rows = kept(int(layer[1]) if layer else 0, a.shape[:-1])
        return jnp.where(rows, a / (1 - self.dropout), 0.0)
