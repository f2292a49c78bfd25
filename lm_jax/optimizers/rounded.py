"""Statistics of an optimizer that are kept in fewer bits than they are made in."""

from typing import Any

import optax


def rounded(
    rule: optax.GradientTransformation, **dtypes: str
) -> optax.GradientTransformation:
    """Keep parts of a rule's state in other types, to the nearest, from step to step.

    A step computes in float32, and its update is made of what is not rounded yet.

    Args:
        rule: its state is a tuple with names.
        dtypes: of its parts, by name.
    """

    def init(params):
        return _cast(rule.init(params), dtypes)

    def update(updates, state, params=None):
        whole = _cast(state, dict.fromkeys(dtypes, "float32"))
        updates, after = rule.update(updates, whole, params)
        return updates, _cast(after, dtypes)

    return optax.GradientTransformation(init, update)


def _cast(state: Any, dtypes: dict[str, str]) -> Any:
    parts = {
        name: optax.tree.cast(getattr(state, name), dtype)
        for name, dtype in dtypes.items()
    }
    return state._replace(**parts)
