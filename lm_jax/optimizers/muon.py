"""Muon."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lm_jax.bounds import within
from lm_jax.errors import UserError
from lm_jax.optimizers.base import OptimizerBase
from lm_jax.selectors import parted, path_name, select

HIDDEN_KERNELS = (("block.*kernel$", True), (".*", False))


@dataclass(frozen=True)
class Muon(OptimizerBase):
    """Orthogonalised momentum for hidden matrices, Adam for the rest.

    As Jordan's own code (2024): Nesterov's momentum without a correction of its
    bias, Newton-Schulz steps, and AdamW for all else. Updates are scaled to
    Adam's root mean square, so that one learning rate serves both (Liu et al. 2025,
    eq. 4), where that code scales by sqrt(max(1, outputs / inputs)) and has a rate
    for each. Each layer and each expert is a matrix of its own.

    Attributes:
        beta: decay of the momentum of hidden matrices.
        b1: Adam's decay of the mean of gradients, for the rest.
        b2: Adam's decay of the mean of squared gradients, for the rest.
        epsilon: Adam's, added to the root of the mean square.
        iterations: Newton-Schulz steps, of three products of matrices each. Of 0.8M
            parameters all five took a quarter of a step (768 tokens, two CPU cores).
        hidden: which parameters are orthogonalised.
    """

    beta: float = within("[0, 1)", 0.95)
    b1: float = within("[0, 1)", 0.9)
    b2: float = within("[0, 1)", 0.95)
    epsilon: float = within("(0, inf)", 1e-10)
    iterations: int = within("[1, 20]", 5)
    hidden: tuple[tuple[str, bool], ...] = HIDDEN_KERNELS
    _: KW_ONLY
    weight_decay: float = within("[0, inf)", 0.1)

    products = True

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction of unit learning rate."""

        def orthogonalised(updates: Any, _: Any) -> Any:
            return jax.tree.map(lambda x: _orthogonal(x, self.iterations), updates)

        momentum = optax.trace(self.beta, nesterov=True)
        hidden = optax.chain(momentum, optax.stateless(orthogonalised))
        rest = optax.scale_by_adam(self.b1, self.b2, self.epsilon)
        return optax.partition({"hidden": hidden, "rest": rest}, self._labels)

    def _labels(self, params: Any) -> Any:
        """Say of each parameter whether it is "hidden" or of the "rest".

        Raises:
            UserError: there is none, or it is no matrix.
        """
        hidden = select(self.hidden, params, "optimizer.hidden", HIDDEN_KERNELS)
        if not any(jax.tree.leaves(hidden)):
            raise UserError(
                "optimizer.hidden selects no parameter, and Muon without any is "
                "Adam. Name this model's hidden matrices there, such as "
                '"layer_.*kernel$", or use AdamW.'
            )
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            parted(params, hidden)[0]
        ):
            if leaf.ndim < 2:
                raise UserError(
                    f"optimizer.hidden selects '{path_name(path)}', which is no matrix."
                )
        return jax.tree.map(lambda chosen: "hidden" if chosen else "rest", hidden)


def _orthogonal(
    matrix: Float[Array, "*stack m n"], iterations: int
) -> Float[Array, "*stack m n"]:
    """The nearest orthogonal matrix, about, of root mean square 0.2 / sqrt(min(m, n)).

    Newton-Schulz steps of fifth order, whose coefficients let singular values of 0.7
    to 1.2 pass for 1 (Jordan 2024).
    """
    rows, columns = matrix.shape[-2:]
    wide = matrix if rows <= columns else jnp.swapaxes(matrix, -1, -2)
    norm = jnp.linalg.norm(wide, axis=(-2, -1), keepdims=True)
    x = wide / (norm + 1e-7)
    for _ in range(iterations):
        square = x @ jnp.swapaxes(x, -1, -2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    x = x if rows <= columns else jnp.swapaxes(x, -1, -2)
    return 0.2 * max(rows, columns) ** 0.5 * x
