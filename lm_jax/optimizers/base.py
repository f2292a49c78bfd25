"""What all optimizers share: decay, clipping, and which parameters they reach."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lm_jax.bounds import check, within
from lm_jax.errors import UserError

MATRICES = (("kernel$|embedding$", True), (".*", False))
ALL = ((".*", 1.0),)


@dataclass(frozen=True, kw_only=True)
class OptimizerBase:
    """The fields of every optimizer.

    Attributes:
        weight_decay: decoupled: weights shrink by learning rate times this.
        clip: highest global norm of the gradient; None doesn't clip.
        decays: which parameters decay: (expression, true or false) pairs.
        rates: factor on the learning rate: (expression, factor) pairs; 0 freezes a
            parameter.
        rated_decay: whether ``rates`` multiply weight decay too, as PyTorch's groups
            of parameters do; if not, learning rate times decay is one for all, as
            the package mup has it.

    Each kind has ``direction()``: an optax transformation of gradients to an uphill
    direction of unit learning rate.
    """

    weight_decay: float = within("[0, inf)", 0.0)
    clip: float | None = within("(0, inf)", 1.0)
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL
    rated_decay: bool = False

    direction: ClassVar[Any]
    products: ClassVar[bool] = False
    """Whether a direction multiplies matrices."""

    def __post_init__(self) -> None:
        """Refuse numbers that train nothing or climb."""
        check(self, "optimizer")
        for expression, rate in self.rates:
            if not 0 <= rate < float("inf"):
                raise UserError(
                    f"optimizer.rates gives '{expression}' a factor of {rate}: give a "
                    "number, 0 or more."
                )
