"""Rules that look at a whole matrix, where layers or experts share an array."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lm_jax.selectors import is_scanned, path_name


def stacked_axes(params: Any) -> Any:
    """How many first axes of each array count layers of a scan, or experts.

    What follows is one layer's own: a kernel has two axes there, and what lies
    beside a kernel, as its bias does, is stacked as the kernel is.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = {
        path_name(path[:-1]): leaf.ndim - 2
        for path, leaf in leaves
        if path_name(path[-1:]) == "kernel"
    }

    def axes(path: tuple, leaf: Any) -> int:
        scanned = int(is_scanned(path_name(path)))
        return max(scanned, kernels.get(path_name(path[:-1]), 0))

    return jax.tree_util.tree_map_with_path(axes, params)


def each_alone(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """Let a rule see each layer and each expert as an array of its own.

    For a rule that doesn't compare parameters. Its state has the form that the rule
    gives it, each part of it for each parameter.
    """
    inner = jax.tree.structure(rule.init(jnp.zeros(())))

    def init(params):
        made = jax.tree.map(
            lambda axes, param: _over(axes, rule.init)(param),
            stacked_axes(params),
            params,
        )
        return jax.tree.transpose(jax.tree.structure(params), inner, made)

    def update(updates, state, params):
        outer = jax.tree.structure(params)
        made = jax.tree.map(
            lambda axes, *parts: _over(axes, rule.update)(*parts),
            stacked_axes(params),
            updates,
            jax.tree.transpose(inner, outer, state),
            params,
        )
        updates, states = map(
            outer.unflatten, zip(*outer.flatten_up_to(made), strict=True)
        )
        return updates, jax.tree.transpose(outer, inner, states)

    return optax.GradientTransformation(init, update)


def _over(axes: int, function: Callable) -> Callable:
    """Map a function over so many first axes."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function
