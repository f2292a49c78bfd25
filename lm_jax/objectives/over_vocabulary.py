"""What objectives share that predict tokens out of a vocabulary."""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float, Int, Key

from lm_jax.kernels.loss import PieceSums, cross_entropy, in_pieces
from lm_jax.objectives.base import ObjectiveBase
from lm_jax.objectives.guide import Lesson
from lm_jax.objectives.sums import Sums, applied, penalties


class OverVocabulary(ObjectiveBase):
    """The base of objectives whose loss is a sum over targets, each a token.

    It has ``read``, which gives the features of what is predicted; ``targets``, which
    says what that is, and ``sums``, which adds up, may be its own. Logits are made for
    a piece of the targets at a time.
    """

    read: ClassVar[Any]

    def predict(
        self,
        model: nn.Module,
        batch: dict[str, Array],
        carry: Any = None,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch time vocab"], Any]:
        """Give the logits of a batch, and what is carried to the next one.

        Args:
            model: bound to its parameters.
            batch: as of a call.
            carry: what is left of the batch before, if it is carried.
            dropout_keys: one for each example; None is no dropout.
        """
        hidden, carry = self.read(model, batch, carry, dropout_keys)
        return model.logits(hidden), carry

    def targets(
        self, batch: dict[str, Array]
    ) -> tuple[Int[Array, "batch time"], Float[Array, "batch time"]]:
        """Give the tokens to predict, and 1 where one counts."""
        return batch["targets"], batch["mask"]

    def sums(
        self,
        logits: Float[Array, "batch time vocab"],
        targets: Int[Array, "batch time"],
        mask: Float[Array, "batch time"],
        training: bool,
    ) -> PieceSums:
        """Sum nats, and the tokens that were told rightly."""
        nats, _ = cross_entropy(logits, targets)
        total = (nats * mask).sum()
        correct = ((logits.argmax(-1) == targets) * mask).sum()
        return total, {"nats": total, "correct": correct}

    def __call__(
        self,
        model: nn.Module,
        params: Any,
        batch: dict[str, Array],
        key: Key[Array, ""] | None,
        carry: Any = None,
        lesson: Lesson | None = None,
    ) -> Sums:
        """Sum the loss of a batch.

        Args:
            model: has features, and maps these to logits.
            params: its parameters.
            batch: what the objective ``reads`` and ``may_read``; "row" (batch,), the
                number of each example in the step's batch; perhaps "weight" (batch,),
                what to divide by instead of the number of targets.
            key: of the step; None evaluates: without dropout, and by the nats alone.
            carry: what is left of the batch before, if it is carried.
            lesson: of a teacher, if there is one.

        Returns:
            Nats, over the number of targets.
        """
        (hidden, carry), sown = applied(
            self, model, params, batch, key, carry, self.read
        )
        targets, mask = self.targets(batch)
        rows: tuple[Array, ...] = (targets, mask)
        given: tuple[Any, ...] = ()
        if lesson is not None:
            taught, _ = lesson.teacher.apply(batch, method=self.read)
            rows, given = (targets, mask, taught), (lesson.teacher.params,)

        def of_piece(
            hidden: Float[Array, "batch time width"],
            targets: Int[Array, "batch time"],
            mask: Float[Array, "batch time"],
            taught: Float[Array, "batch time width_of_teacher"] | None = None,
            held: Any = None,
        ) -> PieceSums:
            logits: Any = model.apply({"params": params}, hidden, method="logits")
            loss, metrics = self.sums(logits, targets, mask, key is not None)
            if lesson is not None:
                teacher = lesson.teacher._replace(params=held)
                told = teacher.apply(taught, method="logits")
                loss = lesson.mixed(loss, logits, told, mask)
            return loss, metrics

        loss, metrics = in_pieces(
            of_piece, hidden, *rows, vocab_size=model.vocab_size, given=given
        )
        # A segment of varied length is divided by the usual one (Merity et al.
        # 2018, 4.2: the learning rate grows with the segment).
        weight = batch.get("weight", mask)
        return Sums(loss + penalties(sown, mask), weight.sum(), metrics, carry)
