"""What a traced program is made of."""

import jax


def operations(program, name):
    """The equations of one primitive in a jaxpr, those of loops and calls too."""
    for equation in getattr(program, "jaxpr", program).eqns:
        if equation.primitive.name == name:
            yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from operations(inner, name)


def dots(program):
    """The products of matrices in a jaxpr."""
    return operations(program, "dot_general")
