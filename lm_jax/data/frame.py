"""What stands around a source and a target, beside their text."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32


@dataclass(frozen=True)
class Frame:
    """Tokens that a model of sources and targets saw around them in training.

    Attributes:
        start: what a target begins after, as "decoder_inputs" do.
        end: ends a target; None where nothing does.
        before: stands before each source.
        after: stands after each source.
    """

    start: tuple[int, ...]
    end: int | None = None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def source(
        self, ids: Int[np.ndarray, " tokens"], context: int
    ) -> Int32[np.ndarray, " source"]:
        """Give what the encoder reads of a text: the beginning of one that is too long.

        Args:
            ids: of the text.
            context: tokens that the encoder can read.
        """
        room = max(0, context - len(self.before) - len(self.after))
        parts = self.before, ids[:room], self.after
        return np.concatenate([np.asarray(part, np.int32) for part in parts])
