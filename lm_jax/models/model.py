"""What a model offers to those who train, evaluate and use it."""

import inspect
from collections.abc import Mapping


def lacking(model: object, calls: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Name what a model doesn't offer: "encode", or "source in features".

    Args:
        model: a model, or the class of one.
        calls: methods that are called, and the arguments handed to each by name.
    """
    found = []
    for method, arguments in calls.items():
        own = getattr(model, method, None)
        if not callable(own):
            found.append(method)
            continue
        taken = inspect.signature(own).parameters.values()
        if any(argument.kind is argument.VAR_KEYWORD for argument in taken):
            continue
        names = {argument.name for argument in taken}
        found += [f"{name} in {method}" for name in arguments if name not in names]
    return found
