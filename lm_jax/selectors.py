"""The one language that says which parameter gets which value.

An ordered list of (regular expression, value); the first expression found in
the parameter's path ("block_0/attention/query/kernel") decides.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import jax

from lm_jax.errors import UserError

Value = TypeVar("Value")
Selector = Sequence[tuple[str, Value]]


def path_name(path: tuple) -> str:
    """The path of a leaf as one name with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def select(selector: Selector, tree: Any, what: str) -> Any:
    """Replace each leaf by the value of the first expression found in its path.

    Raises:
        UserError: when nothing matches a path, or an expression is malformed.
    """
    compiled = []
    for expression, value in selector:
        try:
            compiled.append((re.compile(expression), value))
        except re.error as error:
            raise UserError(
                f"'{expression}' in {what} is not a regular expression: {error}."
            ) from None

    def choose(path, _):
        name = path_name(path)
        for expression, value in compiled:
            if expression.search(name):
                return value
        raise UserError(
            f"No expression of {what} matches the parameter '{name}'. "
            "End the list with ('.*', value) to cover the rest."
        )

    return jax.tree_util.tree_map_with_path(choose, tree)
