"""The recurrent network that reads in both directions (Schuster and Paliwal 1997)."""

from collections.abc import Iterator
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from lm_jax.bounds import within
from lm_jax.models.recurrent import Carry, Recurrent, masks_of

__all__ = ["BiRecurrent"]


class BiRecurrent(Recurrent):
    """Recurrent layers, each with a twin that reads from right to left.

    The features are the states of both, side by side, so 2 * ``width`` wide. It is a
    body for what reads whole texts: it predicts no next token.

    Attributes:
        segment_types: kinds of text that tokens can belong to, each with a vector that
            is added to the token's; 0 has none.
    """

    causal: ClassVar[bool] = False
    recurrent: ClassVar[bool] = False
    logits: ClassVar[Any] = None  # its features saw what they would predict

    segment_types: int = within("[0, 2147483647]", 0)

    def setup(self):
        """Declare the embedding alone."""
        self.embedding = self.param("embedding", self._uniform, self._table_shape)

    @nn.compact
    def features(
        self,
        tokens: Int[Array, "batch time"],
        positions: Int[Array, "rows time"] | None = None,
        segments: Int[Array, "batch time"] | None = None,
        cache: Carry | None = None,
        dropout_keys: Key[Array, " batch"] | None = None,
        types: Int[Array, "batch time"] | None = None,
    ) -> tuple[Float[Array, "batch time width"], None]:
        """Read texts: a vector of each token, of all around it.

        Args:
            tokens: what was read.
            positions, cache: taken for the sake of other models, and not looked at.
            segments: nothing is seen of other segments; segment 0 is padding.
            dropout_keys: as of `Recurrent`.
            types: the kind of text of each token, where there are any; 0 if None.

        Returns:
            The last layer's states, forward and backward; and None.
        """
        x = self._embedded(tokens, dropout_keys)
        if self.segment_types:
            kinds = jnp.zeros_like(tokens) if types is None else types
            shape = self.segment_types, x.shape[-1]
            x += self.param("types", self._uniform, shape)[kinds].astype(x.dtype)
        turned = None if segments is None else jnp.flip(segments, 1)
        ways = (("", masks_of(segments), False), ("_back", masks_of(turned), True))
        for index, state in enumerate(self.empty_cache(len(tokens), 0)):
            x = self._between(x, index, dropout_keys)
            read = []
            for name, masks, back in ways:
                layer = self._layer(index, x.shape[-1], f"layer_{index}{name}")
                out, _ = layer(jnp.flip(x, 1) if back else x, state, *masks)
                read.append(jnp.flip(out, 1) if back else out)
            x = jnp.concatenate(read, axis=-1)
        return self._dropped(x, self.dropout.output, dropout_keys, "output"), None

    def without_logits(self) -> "BiRecurrent":
        """It is without them."""
        return self

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        yield from super().problems()
        for name in ("tied", "activation_penalty", "change_penalty"):
            if getattr(self, name):
                yield f"model.{name} is for models of the next token: leave it out."

    def flops_per_token(self, context: int) -> float:
        """Floating point operations to train on one token: six a kernel entry."""
        kernels, inputs = 0, self.embedding_width or self.width
        for width in self.widths:
            kernels += 2 * (inputs + width) * self.cell.gates * width
            inputs = 2 * width
        return 6.0 * kernels
