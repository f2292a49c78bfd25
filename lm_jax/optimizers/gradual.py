"""Parameters that are trained from a step on: until then all of theirs stays."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int32


def begun(tree: Any, begins: Any, step: Int32[Array, ""]) -> Any:
    """Put zeros in the place of gradients or updates whose time has not come.

    Args:
        tree: of the trained parameters' form.
        begins: the step of each that its training begins at, 0 for most.
        step: updates made.
    """

    def of_each(leaf: Array, begin: int) -> Array:
        return jnp.where(step >= begin, leaf, 0) if begin else leaf

    return jax.tree.map(of_each, tree, begins)


def zero_before(begins: Any) -> optax.GradientTransformationExtraArgs:
    """Let no update through before its parameter's training begins; see `begun`."""

    def update(updates, state, params=None, *, step, **_):
        return begun(updates, begins, step), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def waiting(
    direction: optax.GradientTransformation, begins: Any
) -> optax.GradientTransformationExtraArgs:
    """Give parameters that begin together a state of their own, which waits for them.

    Its moments and its count are those of a run that begins with them: none of the
    steps before has a share in Adam's correction of its bias.
    """

    def at(begin: int) -> optax.GradientTransformationExtraArgs:
        inner = optax.with_extra_args_support(direction)

        def update(updates, state, params=None, *, step, **more):
            found, after = inner.update(updates, state, params, **more)
            kept = jax.tree.map(
                lambda a, b: jnp.where(step >= begin, a, b), after, state
            )
            return found, kept

        return optax.GradientTransformationExtraArgs(inner.init, update)

    names = jax.tree.map(lambda begin: f"from_{begin}", begins)
    rules = {f"from_{begin}": at(begin) for begin in set(jax.tree.leaves(begins))}
    return optax.partition(rules, names)
