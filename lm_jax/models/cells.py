"""Recurrent cells.

A cell is a value that says how one step goes from the products of its matrices to
its next state, entry by entry. `lm_jax.kernels.recurrence` runs it over a text.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lm_jax.kernels.recurrence import State

__all__ = ["GRU", "LSTM", "Cell", "Elman"]


@dataclass(frozen=True)
class Elman:
    """h = activation(W x + U h + b) (Elman 1990).

    Attributes:
        activation: "tanh" or "relu".
        biases: as of `LSTM`.
    """

    activation: Literal["tanh", "relu"] = "tanh"
    biases: Literal[1, 2] = 1

    gates, additive = 1, True
    states = ("hidden",)

    def step(self, inputs: Array, recurrent: Array, state: State) -> State:
        """Give the next state from W x + b and U h + b'."""
        bend = jnp.tanh if self.activation == "tanh" else jax.nn.relu
        return (bend(inputs + recurrent),)


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory with forget gates (Gers et al. 2000).

    Attributes:
        biases: 2 has one of each product, as PyTorch: only their sum acts, so the
            functions are those of 1; but at first it is wider by sqrt(2), and it
            learns as two do, twice as fast by plain SGD.
    """

    biases: Literal[1, 2] = 1

    gates, additive = 4, True
    states = ("hidden", "cell")

    def step(self, inputs: Array, recurrent: Array, state: State) -> State:
        """Give the next hidden and cell state; gates i, f, g, o in this order."""
        i, f, g, o = jnp.split(inputs + recurrent, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


@dataclass(frozen=True)
class GRU:
    """Gated recurrent unit (Cho et al. 2014), reset after the product.

    The reset gate acts on U h + b', as in PyTorch and cuDNN, so that a step
    needs one product and not two: there are two biases.
    """

    gates, additive, biases = 3, False, 2
    states = ("hidden",)

    def step(self, inputs: Array, recurrent: Array, state: State) -> State:
        """Give the next hidden state; gates r, z, n in this order."""
        r_in, z_in, n_in = jnp.split(inputs, 3, axis=-1)
        r_rec, z_rec, n_rec = jnp.split(recurrent, 3, axis=-1)
        z = jax.nn.sigmoid(z_in + z_rec)
        n = jnp.tanh(n_in + jax.nn.sigmoid(r_in + r_rec) * n_rec)
        return ((1.0 - z) * n + z * state[0],)


Cell = Elman | LSTM | GRU
