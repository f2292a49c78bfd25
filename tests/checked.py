"""Types are checked by beartype when a function is called, and shapes by jaxtyping.

A check is made at a function's first call: made for all as they are imported, called or
not, the checks take each process of the suite a quarter of a minute more. Only what
takes or gives arrays goes through jaxtyping, whose every call costs fifteen times what
beartype's does.
"""

import dataclasses
import inspect
import typing
from functools import partial, wraps

import jaxtyping
from beartype import beartype

_jaxtyped = jaxtyping.jaxtyped


def install():
    """Check lm_jax, as it is imported."""
    jaxtyping.jaxtyped = checked  # the hook puts it before each function and class
    jaxtyping.install_import_hook("lm_jax", "tests.checked.at_first_call")


def checked(function=None, *, typechecker):
    """Check a function's arguments and results, or what a class is made of."""
    if function is None:
        return partial(checked, typechecker=typechecker)
    if inspect.isclass(function):
        if dataclasses.is_dataclass(function) and "__init__" in vars(function):
            function.__init__ = checked(function.__init__, typechecker=typechecker)
        return function
    hints = inspect.get_annotations(function)
    if any(map(_holds_arrays, hints.values())):
        return _jaxtyped(function, typechecker=typechecker)
    return typechecker(function) if hints else function


def _holds_arrays(hint):
    is_array = inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray)
    return is_array or any(map(_holds_arrays, typing.get_args(hint)))


def at_first_call(function):
    """Check arguments and results as beartype does."""
    check = None

    @wraps(function)
    def checked(*args, **kwargs):
        nonlocal check
        if check is None:
            check = beartype(function)
        return check(*args, **kwargs)

    return checked
