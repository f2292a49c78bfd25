"""Adafactor."""

from dataclasses import KW_ONLY, dataclass

import optax

from lm_jax.bounds import within
from lm_jax.optimizers.base import OptimizerBase
from lm_jax.optimizers.stacked import each_alone


@dataclass(frozen=True)
class Adafactor(OptimizerBase):
    """Adam's second moment by rows and columns (Shazeer and Stern 2018).

    Each matrix is clipped and scaled alone: each layer, each expert.

    Attributes:
        decay_rate: exponent of the decay of the second moment.
    """

    decay_rate: float = within("(0, 1]", 0.8)
    _: KW_ONLY
    clip: float | None = within("(0, inf)", None)

    def direction(self) -> optax.GradientTransformation:
        """Gradients to an uphill direction, relative to the parameter's scale."""
        return each_alone(
            optax.chain(
                optax.scale_by_factored_rms(decay_rate=self.decay_rate),
                optax.clip_by_block_rms(1.0),
                optax.scale_by_param_block_rms(),
            )
        )
