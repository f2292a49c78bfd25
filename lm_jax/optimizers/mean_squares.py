"""Means of squared gradients that decay row by row, when a row has a gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from lm_jax.selectors import is_scanned, path_name


class MeanSquares(NamedTuple):
    """Of each parameter.

    Attributes:
        count: steps made.
        squares: their means, each row's as of its last step.
        last: the last step at which each row, along the first axis of a parameter (of
            one layer's, in a scan), had a gradient.
    """

    # Any: the same tree also holds shapes.
    count: Any
    squares: Any
    last: Any


def by_rows(decay: float, epsilon: float) -> optax.GradientTransformation:
    """Divide gradients by the root of their mean square, corrected as Adam's is.

    A row whose gradient is 0 keeps what it has: no number of it changes.

    Args:
        decay: of the mean.
        epsilon: added to its root.
    """

    def init(params: Any) -> MeanSquares:
        last = jax.tree_util.tree_map_with_path(
            lambda path, p: jnp.zeros(p.shape[: _axes(path)], jnp.int32), params
        )
        zeros = jax.tree.map(jnp.zeros_like, params)
        return MeanSquares(jnp.zeros((), jnp.int32), zeros, last)

    def update(updates: Any, state: MeanSquares, params: Any = None):
        count = state.count + 1
        past = jax.tree_util.tree_map_with_path(_moved, updates)
        last = jax.tree.map(lambda m, t: jnp.where(m, count, t), past, state.last)

        def mean(gradient: Array, squares: Array, moved: Array, last: Array) -> Array:
            share = jnp.where(moved, decay ** (count - last), 1.0)
            share = share.reshape(_beside(share, gradient))
            return share * squares + (1 - decay) * jnp.square(gradient)

        squares = jax.tree.map(mean, updates, state.squares, past, state.last)
        correction = 1 - decay**count

        def direction(gradient: Array, squares: Array) -> Array:
            return gradient / (jnp.sqrt(squares / correction) + epsilon)

        made = jax.tree.map(direction, updates, squares)
        return made, MeanSquares(count, squares, last)

    return optax.GradientTransformation(init, update)


def _axes(path: tuple) -> int:
    """How many first axes number the rows: layers of a scan have rows each."""
    return 1 + is_scanned(path_name(path))


def _moved(path: tuple, gradient: Array) -> Array:
    """Whether each row has a gradient."""
    others = tuple(range(_axes(path), gradient.ndim))
    return (gradient != 0).any(others) if others else gradient != 0


def _beside(rows: Array, values: Array) -> tuple[int, ...]:
    return rows.shape + (1,) * (values.ndim - rows.ndim)
