"""The model of another run, that an objective reads beside the one that is trained."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import optax
from jaxtyping import Array, Float

from lm_jax.platform import products_of


class Guide(NamedTuple):
    """A model that has learnt, and learns nothing here: a teacher, a reference.

    Attributes:
        model: its module, of whatever family.
        params: its parameters.
    """

    model: nn.Module
    params: Any

    def apply(self, *args: Any, method: str | Callable) -> Any:
        """Apply a method of the model, or a function of it, without dropout."""
        model: Any = self.model
        with products_of(model):
            return model.apply({"params": self.params}, *args, method=method)


class Lesson(NamedTuple):
    """What an objective learns from a teacher beside its targets.

    Attributes:
        teacher: the model.
        temperature: that both models' logits are divided by.
        share: of the loss that the teacher has.
    """

    teacher: Guide
    temperature: float
    share: float

    def mixed(
        self,
        loss: Float[Array, ""],
        logits: Float[Array, "*rows outputs"],
        taught: Float[Array, "*rows outputs"],
        mask: Float[Array, "*rows"],
    ) -> Float[Array, ""]:
        """Mix a summed loss with the divergence from the teacher's distribution.

        Times the square of the temperature, the gradients of both parts stay of one
        size, whatever it is (Hinton et al. 2015, 2).

        Args:
            loss: summed over the targets.
            logits: of the model that is trained.
            taught: the teacher's.
            mask: 1 where a target counts.
        """
        ours, theirs = (
            nn.log_softmax(each / self.temperature) for each in (logits, taught)
        )
        nats = optax.losses.kl_divergence_with_log_targets(ours, theirs)
        soft = self.temperature**2 * (nats * mask).sum()
        return (1 - self.share) * loss + self.share * soft
