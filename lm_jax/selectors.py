"""The one language that says which parameter gets which value.

An ordered list of (regular expression, value); the first expression found in
the parameter's path ("block_0/attention/query/kernel") decides.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import jax

from lm_jax.errors import UserError, nearest

Value = TypeVar("Value")
Selector = Sequence[tuple[str, Value]]
# A name up to the number of a layer, the number, and the rest.
_LAYER = re.compile(r"(?:(.*?\bblock_)(\d+))?(.*)", re.DOTALL)
# Where the layers of a scan stand in a name.
_SCANNED = re.compile(r"blocks(?=/)")


def path_name(path: tuple) -> str:
    """The path of a leaf as one name with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def like_layers_once(names: Iterable[str]) -> list[str]:
    """Names of parameters for people, like layers as one: "block_0..5/up/kernel"."""
    found: dict[tuple[str, str], list[int]] = {}
    for name in names:
        head, number, tail = _LAYER.fullmatch(name).groups()  # type: ignore[union-attr]
        found.setdefault((head, tail), []).append(int(number or 0))
    return [
        f"{head}{_span(layers)}{tail}" if head else tail
        for (head, tail), layers in found.items()
    ]


def _span(layers: list[int]) -> str:
    first, last = min(layers), max(layers)
    if last - first + 1 == len(layers):
        return f"{first}..{last}" if last > first else str(first)
    return ",".join(map(str, sorted(layers)))


def _check_each_matches(
    compiled: list, tree: Any, what: str, defaults: Selector
) -> None:
    excused = {".*", *(expression for expression, _ in defaults)}
    names = [
        name
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        for name in unrolled_names(path_name(path), leaf)
    ]
    for expression, _ in compiled:
        found = any(expression.search(name) for name in names)
        if not found and expression.pattern not in excused:
            raise UserError(
                f"'{expression.pattern}' in {what} matches no parameter."
                f"{nearest(expression.pattern, like_layers_once(names))}"
            )


def is_scanned(name: str) -> bool:
    """Whether a name is of an array whose first axis counts the layers of a scan."""
    return _SCANNED.search(name) is not None


def unrolled_names(name: str, leaf: Any) -> list[str]:
    """The names of an array of a scanned stack as if it were not scanned."""
    found = _SCANNED.search(name)
    if not found or not getattr(leaf, "shape", ()):
        return [name]
    start, end = found.span()
    layers = range(leaf.shape[0])
    return [f"{name[:start]}block_{layer}{name[end:]}" for layer in layers]


def select(
    selector: Selector,
    tree: Any,
    what: str,
    defaults: Selector | None = (),
    known: Any = None,
) -> Any:
    """Replace each leaf by the value of the first expression found in its path.

    Args:
        selector: the expressions and their values, in order.
        tree: of arrays, or of their shapes.
        what: the field that the selector stands in.
        defaults: whose expressions need match nothing, nor need ".*"; all others
            must. None lets all be.
        known: the tree that they must match something of, where ``tree`` is a part of
            it, as what is trained of all parameters; None is ``tree``.

    Raises:
        UserError: when nothing matches a path, or an expression is malformed, or
            matches nothing.
    """
    compiled = []
    for expression, value in selector:
        try:
            compiled.append((re.compile(expression), value))
        except re.error as error:
            raise UserError(
                f"'{expression}' in {what} is not a regular expression: {error}."
            ) from None

    if defaults is not None:
        _check_each_matches(compiled, tree if known is None else known, what, defaults)

    def of_name(name):
        for expression, value in compiled:
            if expression.search(name):
                return value
        raise UserError(
            f"No expression of {what} matches the parameter '{name}'. "
            "End the list with ('.*', value) to cover the rest."
        )

    def choose(path, leaf):
        values = [of_name(name) for name in unrolled_names(path_name(path), leaf)]
        if any(value != values[0] for value in values):
            raise UserError(
                f"{what} gives the layers of '{path_name(path)}' different values, and "
                "execution.compute.scan computes them as one. Leave scan out."
            )
        return values[0]

    return jax.tree_util.tree_map_with_path(choose, tree)


def parted(tree: Any, chosen: Any) -> tuple[Any, Any]:
    """Part a tree by a tree of booleans: what is chosen, and the rest.

    Both have None where the other has a leaf, so that whoever maps over one of them
    doesn't see the other's.
    """

    def keep(wanted: bool) -> Any:
        return jax.tree.map(
            lambda leaf, yes: leaf if yes is wanted else None, tree, chosen
        )

    return keep(True), keep(False)


def together(a: Any, b: Any) -> Any:
    """Put together what `parted` parted."""
    return jax.tree.map(
        lambda x, y: y if x is None else x, a, b, is_leaf=lambda x: x is None
    )
