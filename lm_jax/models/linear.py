"""The dense layer."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from lm_jax.kernels.placement import gathered
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
        x = x.astype(self.dtype)
        y = checkpoint_name(product(x, self.whole_kernel(), result), "product")
        return y + self.bias.astype(y.dtype) if self.use_bias else y

    def whole_kernel(self) -> Float[Array, "*experts k n"]:
        """Give the kernel in the type to compute in, wherever its parts lie."""
        kernel = gathered(self.kernel, (*self.path, "kernel"), self.dtype)
        return jnp.asarray(kernel, self.dtype)
