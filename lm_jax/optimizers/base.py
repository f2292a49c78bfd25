"""What all optimizers share: decay, clipping, and which parameters they reach."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lm_jax.bounds import check, within
from lm_jax.errors import UserError

MATRICES = (("kernel$|embedding$", True), (".*", False))
ALL = ((".*", 1.0),)
FREE: tuple[tuple[str, float | None], ...] = ((".*", None),)


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
        towards_initial: decoupled: weights of ``decays`` are drawn to their first
            values by learning rate times this (L2-SP, Li et al. 2018, eq. 2). It
            keeps a second copy of them.
        l1: decoupled: weights of ``decays`` lose learning rate times this, whatever
            their size.
        max_norms: highest norm of what a matrix gives to each of its outputs:
            (expression, norm or None) pairs. Longer ones are made shorter after the
            step (Kim 2014, 3.1: ``(("lm_head/kernel$", 3.0), (".*", None))``).

    Each kind has ``direction()``: an optax transformation of gradients to an uphill
    direction of unit learning rate.
    """

    weight_decay: float = within("[0, inf)", 0.0)
    clip: float | None = within("(0, inf)", 1.0)
    decays: tuple[tuple[str, bool], ...] = MATRICES
    rates: tuple[tuple[str, float], ...] = ALL
    rated_decay: bool = False
    towards_initial: float = within("[0, inf)", 0.0)
    l1: float = within("[0, inf)", 0.0)
    max_norms: tuple[tuple[str, float | None], ...] = FREE

    direction: ClassVar[Any]
    products: ClassVar[bool] = False
    """Whether a direction multiplies matrices."""
    rests: ClassVar[Any] = False
    """Whether a gradient of 0 has no direction, and leaves statistics as they are."""

    @property
    def still(self) -> bool:
        """Whether a gradient of 0 leaves weights and statistics as they are."""
        draws = self.weight_decay or self.towards_initial or self.l1
        return self.rests and not draws and self.max_norms == FREE

    def __post_init__(self) -> None:
        """Refuse numbers that train nothing or climb."""
        check(self, "optimizer")
        for expression, rate in self.rates:
            if not 0 <= rate < float("inf"):
                raise UserError(
                    f"optimizer.rates gives '{expression}' a factor of {rate}: give a "
                    "number, 0 or more."
                )
        for expression, norm in self.max_norms:
            if norm is not None and not 0 < norm < float("inf"):
                raise UserError(
                    f"optimizer.max_norms gives '{expression}' a norm of {norm}: give "
                    "a number above 0, or None."
                )
