"""First values, each array by a program of its own."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.interpreters import partial_eval
from jaxtyping import Array, Key


class Draws:
    """Makes a tree of arrays one by one, each where it will lie.

    Compiled at once, the values of a deep model take minutes on a GPU. One by one,
    arrays that are drawn alike share a program, so that twelve layers compile no
    longer than one. What tells them apart is the number that Flax makes of a
    parameter's path and folds into the key: here it is an argument. Another key
    traces and compiles nothing.

    Args:
        make: gives the tree, from the key alone.
        shardings: a sharding for each array, in a tree like that of ``make``.
    """

    def __init__(self, make: Callable[[Any], Any], shardings: Any):
        self._make, self._shardings = make, shardings
        self._programs: list[tuple[Callable, list[Any]]] = []

    def __call__(self, key: Key[Array, ""]) -> Any:
        """Give what ``make(key)`` gives, bit for bit."""
        if not self._programs:
            self._programs = list(self._traced(key))
        arrays = [program(key, numbers) for program, numbers in self._programs]
        structure = jax.tree.structure(self._shardings)
        return jax.tree.unflatten(structure, arrays)

    def _traced(self, key: Any) -> Iterator[tuple[Callable, list[Any]]]:
        """The program of each array, and the numbers that it is given."""
        _, consts, alone = programs(self._make, key)
        alike: dict[str, Callable] = {}
        shardings = jax.tree.leaves(self._shardings)
        for one, sharding in zip(alone, shardings, strict=True):
            run = partial(_evaluate, one.jaxpr, consts)
            program = jax.jit(run, out_shardings=sharding)
            text = program.lower(key, one.numbers).as_text()
            yield alike.setdefault(text, program), one.numbers


class Program(NamedTuple):
    """What draws one array.

    Attributes:
        jaxpr: from the key to the array.
        numbers: that it folds into the key, in their order.
    """

    jaxpr: Any
    numbers: list[Any]


def programs(
    make: Callable[[Any], Any], key: Key[Array, ""]
) -> tuple[Any, list[Any], list[Program]]:
    """Take what makes a tree of arrays apart; nothing is computed.

    Returns:
        The tree's shapes, the constants of all programs, and the program of each array.
    """
    closed, shapes = jax.make_jaxpr(make, return_shape=True)(key)
    count = len(closed.jaxpr.outvars)
    # Without the model's own computation, of which nothing is asked.
    drawing, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * count, instantiate=True)
    alone = []
    for place in range(count):
        wanted = [place == other for other in range(count)]
        jaxpr, _ = partial_eval.dce_jaxpr(drawing, wanted, instantiate=True)
        numbers = [n for n in map(_folded, jaxpr.eqns) if n is not None]
        alone.append(Program(jaxpr, numbers))
    return shapes, closed.consts, alone


def _folded(eqn: Any) -> Any:
    """The number in an equation that it folds into a key; None where it doesn't."""
    folds = eqn.primitive.name == "random_fold_in"
    return getattr(eqn.invars[1], "val", None) if folds else None


def _evaluate(jaxpr: Any, constants: list, key: Any, numbers: list) -> Any:
    """Compute the one output, with these numbers for those that are folded in."""
    values = dict(zip(jaxpr.constvars, constants, strict=True)) | {jaxpr.invars[0]: key}
    left = iter(numbers)
    for eqn in jaxpr.eqns:
        inputs = [v.val if hasattr(v, "val") else values[v] for v in eqn.invars]
        if _folded(eqn) is not None:
            inputs[1] = next(left)
        params = eqn.primitive.get_bind_params(eqn.params)
        found = eqn.primitive.bind(*inputs, **params)
        outputs = found if eqn.primitive.multiple_results else [found]
        values.update(zip(eqn.outvars, outputs, strict=True))
    (out,) = jaxpr.outvars
    return out.val if hasattr(out, "val") else values[out]
