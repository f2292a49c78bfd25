"""First parameters, and what a model gives, by few programs: each takes its time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from lm_jax.models.stack import initialise, stack_blocks, unrolled
from lm_jax.training.drawing import Draws


@partial(jax.jit, static_argnums=0, static_argnames="method")
def applied(model, params, *inputs, method=None, **named):
    """What a model gives: one program, and operation by operation a hundred."""
    return model.apply({"params": params}, *inputs, method=method, **named)


@partial(jax.jit, static_argnums=0)
def with_gradients(function, gradient, *arrays):
    """What a function gives, and what it makes of a gradient of that: one program."""
    made, pull = jax.vjp(function, *arrays)
    return made, *pull(gradient)


def first_params(model, seed, *inputs, method=None):
    """What `initialise` gives, bit for bit, in a fifth of the time."""

    def make(key):
        return initialise(unrolled(model), key, *inputs, method=method)

    key, here = jax.random.key(seed), SingleDeviceSharding(jax.devices()[0])
    shardings = jax.tree.map(lambda _: here, jax.eval_shape(make, key))
    params = Draws(make, shardings)(key)
    # Bound to no device, as all else in a test: a second step is no other program.
    params = jax.tree.map(lambda array: jnp.asarray(np.asarray(array)), params)
    return params if unrolled(model) is model else stack_blocks(params)
