"""The dense layer, and several of them as one product."""

import itertools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from lm_jax.kernels.placement import gathered, platform, several_devices
from lm_jax.kernels.product import product

Dtype = Any


class Dense(nn.Module):
    """An affine map of the last axis: ``x @ kernel + bias``.

    Attributes:
        inputs: width of what comes in.
        features: width of what goes out.
        std: standard deviation of the kernel's normal initial values.
        use_bias: whether there is a bias (zeros at first).
        dtype: type to compute in; the parameters are float32.
        experts: how many kernels (and biases) are stacked, for `MoE` to choose
            from; None is one that isn't stacked.
    """

    inputs: int
    features: int
    std: float = 0.02
    use_bias: bool = False
    dtype: Dtype = jnp.float32
    experts: int | None = None

    def setup(self):
        """Declare the parameters."""
        normal = nn.initializers.normal(self.std)
        stack = () if self.experts is None else (self.experts,)
        self.kernel = self.param("kernel", normal, (*stack, self.inputs, self.features))
        if self.use_bias:
            shape = (*stack, self.features)
            self.bias = self.param("bias", nn.initializers.zeros, shape)

    def __call__(
        self, x: Float[Array, "*batch k"], result: Dtype = None
    ) -> Float[Array, "*batch n"]:
        """Map the last axis from ``inputs`` to ``features``; see `product`."""
        return together(x, self, result=result)[0]

    def whole_kernel(self) -> Float[Array, "*experts k n"]:
        """Give the kernel in the type to compute in, wherever its parts lie."""
        kernel = gathered(self.kernel, (*self.path, "kernel"), self.dtype)
        return jnp.asarray(kernel, self.dtype)


def together(
    x: Float[Array, "*batch k"], *layers: Dense, result: Dtype = None
) -> list[Float[Array, "*batch _"]]:
    """Apply several dense layers to the same input, as one matrix product if that pays.

    Each layer keeps parameters of its own, so that its initial values, its
    name and its place in a selector don't depend on its neighbours.
    """
    # Columns that lie on several devices would move to be put side by side, and a
    # TPU copies what it takes apart again.
    if len(layers) > 1 and (several_devices() or platform() == "tpu"):
        return [together(x, layer, result=result)[0] for layer in layers]
    dtype = layers[0].dtype
    kernels = [layer.whole_kernel() for layer in layers]
    kernel = kernels[0] if len(layers) == 1 else jnp.concatenate(kernels, axis=1)
    y = checkpoint_name(product(x.astype(dtype), kernel, result), "product")
    ends = list(itertools.accumulate(layer.features for layer in layers))[:-1]
    return [
        part + layer.bias.astype(y.dtype) if layer.use_bias else part
        for part, layer in zip(jnp.split(y, ends, axis=-1), layers, strict=True)
    ]
