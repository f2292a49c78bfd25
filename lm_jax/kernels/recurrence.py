"""The scan that runs a recurrent cell over a segment of text.

What it adds to a step is the same for all cells: the products with the inputs of a
whole segment before it, one product a step inside it, and the gradient of the
recurrent matrix after it.
"""

import functools
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

State = tuple[Float[Array, "*time batch width"], ...]


@runtime_checkable
class Recurrence(Protocol):
    """A hashable value that says what happens in a step, each unit for itself."""

    def step(self, inputs: Array, recurrent: Array, state: State) -> State:
        """Give the next state from the products with the inputs and with the state."""


def run_cell(
    cell: Recurrence,
    kernel: Float[Array, "width gates"],
    bias: Float[Array, " gates"] | None,
    inputs: Float[Array, "time batch gates"],
    state: State,
    kept: Float[Array, "time batch 1"] | None = None,
    read: Float[Array, "time batch 1"] | None = None,
) -> tuple[Float[Array, "time batch width"], State]:
    """Run a cell over a segment.

    Products are computed in the kernel's type, all else in float32.

    Args:
        cell: what happens in a step.
        kernel: U of the recurrent product.
        bias: b' of it, or None.
        inputs: W x + b of all steps.
        state: before the first step, float32.
        kept: 0 where the state is cleared before a step, else 1.
        read: 0 where a step is padding and leaves the state as it was, else 1.

    Returns:
        The hidden state after each step, and the state after the last one.
    """
    return _run(cell, kernel, bias, inputs, state, (kept, read))


def _product(hidden: Array, kernel: Array, bias: Array | None) -> Array:
    product = jnp.matmul(
        hidden.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32
    )
    return product if bias is None else product + bias


def _cleared(state: State, kept: Array | None) -> State:
    return state if kept is None else tuple(part * kept for part in state)


def _where_read(read: Array | None, new: State, old: State) -> State:
    if read is None:
        return new
    return tuple(jnp.where(read > 0, n, o) for n, o in zip(new, old, strict=True))


# Autodiff of the plain scan would add to the kernel's gradient at each step, and
# the product of a step would be a small one of few rows. Here the backward scan
# only carries the state's gradient; the kernel's is one product at the end.
# The barriers keep XLA's CPU backend from fusing the slice of a whole segment
# into the small kernels of a step, which it then divides among threads: 206 us
# a step without, 101 with (20 x 200 units, jax 0.12, two Sapphire Rapids cores).
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(cell, kernel, bias, inputs, state, masks):
    return _run_forward(cell, kernel, bias, inputs, state, masks)[0]


def _run_forward(cell, kernel, bias, inputs, state, masks):
    def step(state, now):
        inputs, (kept, read) = jax.lax.optimization_barrier(now)
        state = _cleared(state, kept)
        product = _product(state[0], kernel, bias)
        new = _where_read(read, cell.step(inputs, product, state), state)
        return new, (new, product)

    last, (states, products) = jax.lax.scan(step, state, (inputs, masks))
    return (states[0], last), (kernel, bias, inputs, state, masks, states, products)


def _run_backward(cell, saved, gradient):
    kernel, bias, inputs, first, masks, states, products = saved
    grad_hidden, grad_last = gradient
    before = tuple(
        jnp.concatenate([start[None], each[:-1]])
        for start, each in zip(first, states, strict=True)
    )
    before = _cleared(before, masks[0])
    factors = _factors(cell, inputs, products, before)

    def step(grad_state, now):
        factors, grad_hidden, (kept, read) = jax.lax.optimization_barrier(now)
        grad_state = (grad_state[0] + grad_hidden, *grad_state[1:])
        zeros = tuple(map(jnp.zeros_like, grad_state))
        own = _where_read(read, grad_state, zeros)
        _, grad_product, grad_before = _through(factors, own)
        grad_before = (
            grad_before[0] + _product(grad_product, kernel.T, None),
            *grad_before[1:],
        )
        if read is not None:
            past = _where_read(read, zeros, grad_state)
            grad_before = tuple(map(jnp.add, grad_before, past))
        return _cleared(grad_before, kept), own

    grad_first, grad_states = jax.lax.scan(
        step, grad_last, (factors, grad_hidden, masks), reverse=True
    )
    grad_inputs, grad_products, _ = _through(factors, grad_states)
    rows = grad_products.astype(kernel.dtype)
    grad_kernel = jnp.einsum("tbh,tbg->hg", before[0].astype(kernel.dtype), rows)
    grad_bias = None if bias is None else grad_products.sum((0, 1))
    return grad_kernel, grad_bias, grad_inputs, grad_first, (None, None)


def _factors(cell, inputs, products, before):
    """Derivatives of each part of the next state by all that a step is given.

    A step acts on each unit alone, so they are one number for each entry of its
    inputs, products and state, and those of a whole segment are made at once.
    """
    shapes, backward = jax.vjp(cell.step, inputs, products, before)
    ones = [
        tuple(jnp.full_like(part, k == which) for k, part in enumerate(shapes))
        for which in range(len(shapes))
    ]
    return [backward(one) for one in ones]


def _through(factors, grad_state):
    """Carry the gradient of a state back through a step."""

    def add(*factors):
        parts = [
            factor.reshape(*grad.shape[:-1], -1, grad.shape[-1]) * grad[..., None, :]
            for factor, grad in zip(factors, grad_state, strict=True)
        ]
        return sum(parts).reshape(factors[0].shape)

    return jax.tree.map(add, *factors)


_run.defvjp(_run_forward, _run_backward)
