"""How a choice inside a block is called, and what it may declare there.

A choice (positions, a mixer, a feed-forward) is a frozen value. Its methods take
first the `Part` in whose compact scope they are called: through it they read the
block's other fields, declare parameters and add penalties to the loss.
"""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from lm_jax.models.initial import Role
from lm_jax.models.linear import Dense
from lm_jax.models.norms import new_norm


class Part(nn.Module):
    """A module of a stack of blocks: it has a ``config``, a `BlockConfig`."""

    def dense(
        self,
        inputs: int,
        features: int,
        role: Role,
        name: str | None,
        use_bias: bool | None = None,
        experts: int | None = None,
    ) -> Dense:
        """Declare a dense layer, whose kernel starts as large as its role says.

        Args:
            inputs, features: width of what comes in and goes out.
            role: what the kernel is for.
            name: of the layer; None where Flax names it, in ``setup``.
            use_bias: whether it has a bias; None is as the block's layers.
            experts: how many layers of these sizes are stacked; None is one.
        """
        config: Any = self.config  # type: ignore[attr-defined]
        std = config.initial.std(role, inputs, config.width, config.layers)
        use_bias = config.use_bias if use_bias is None else use_bias
        return Dense(inputs, features, std, use_bias, config.dtype, experts, name=name)

    def normalise(
        self, x: Float[Array, "*batch width"], name: str
    ) -> Float[Array, "*batch width"]:
        """Apply a norm of the block's kind, declared here."""
        return self.new_norm(name)(x)

    def new_norm(self, name: str | None) -> nn.Module:
        """Declare a norm of the block's kind; None where Flax names it."""
        config: Any = self.config  # type: ignore[attr-defined]
        epsilon = config.norm_epsilon
        return new_norm(config.norm, config.use_bias, config.dtype, epsilon, name)

    def penalise(self, name: str, penalties: Float[Array, " batch"]) -> None:
        """Add to the training loss: means over the tokens of each row."""
        self.sow("penalties", name, penalties)


class BlockPart(Part):
    """A piece of a block.

    Attributes:
        config: the `BlockConfig`, which holds all choices and so comes after them.
    """

    config: Any
