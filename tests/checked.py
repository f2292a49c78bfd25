"""Shapes are checked by beartype; each function's check is made when it is called.

Made for all functions as they are imported, called or not, the checks take each process
of the suite a quarter of a minute more.
"""

from functools import wraps

from beartype import beartype


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
