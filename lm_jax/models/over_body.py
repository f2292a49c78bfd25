"""What stands over the features of any body, and what it takes from it."""

from collections.abc import Iterator
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from lm_jax.models.bidirectional import BiRecurrent
from lm_jax.models.encoder import Encoder
from lm_jax.models.model import Model, lacking
from lm_jax.models.transformer import Transformer

_READS = {"features": ("positions", "segments", "dropout_keys")}


class OverBody(Model):
    """The base of models that are a layer over the features of a body.

    The body's parameters keep their paths, so that a run begins with those of a run
    of the body alone.

    Attributes:
        body: a model with features of each token.
    """

    causal: ClassVar[None] = None

    body: Model = Transformer()

    def __post_init__(self) -> None:
        """Take what only makes logits of tokens out of the body."""
        object.__setattr__(self, "body", self.body.without_logits())
        super().__post_init__()

    def setup(self):
        """Declare the layer beside the body's own parameters, not above them."""
        nn.share_scope(self, self.body)

    @property
    def sequential(self) -> Any:
        """Whether the body reads tokens one after the other."""
        return self.body.sequential

    @property
    def stacks(self) -> dict[str, int]:
        """Blocks of the body, by what their names begin with."""
        return self.body.stacks

    @property
    def below(self) -> str:
        """An expression of what the body reads tokens with."""
        return self.body.below

    def axis_sizes(self) -> Iterator[tuple[str, str, int]]:
        """Name those of the body."""
        for axis, field, size in self.body.axis_sizes():
            yield axis, f"body.{field}", size

    @property
    def types(self) -> int:
        """The kinds of token that the body has a vector of."""
        typed = isinstance(self.body, Encoder | BiRecurrent)
        return self.body.segment_types if typed else 0

    def _hidden(
        self,
        tokens: Int[Array, "batch time"],
        segments: Int[Array, "batch time"],
        texts: tuple[Bool[Array, "batch time"], ...],
        dropout_keys: Key[Array, " batch"] | None,
        types: Int[Array, "batch time"] | None = None,
    ) -> Float[Array, "batch time width"]:
        """Give the body's features; a text's positions begin with it, not its row."""
        places = (jnp.where(real, jnp.cumsum(real, axis=1) - 1, 0) for real in texts)
        positions = sum(places, start=jnp.zeros_like(tokens))
        given: dict[str, Any] = {"positions": positions, "segments": segments}
        if types is not None and self.types > 1:
            given["types"] = types
        hidden, _ = self.body.features(tokens, **given, dropout_keys=dropout_keys)
        return hidden.astype(jnp.float32)

    def head_std(self, inputs: int) -> float:
        """Give the standard deviation of a head's kernel.

        The root of the inputs keeps the variance; under muP a head starts as much
        smaller as its logits would be divided (Yang et al. 2022, table 3).

        Args:
            inputs: width of what the kernel multiplies.
        """
        initial = getattr(self.body, "initial", None)
        scale = 1.0 if initial is None else initial.logit_scale(self.body.width)
        return float(inputs**-0.5 * scale**0.5)

    def with_body(self, body: Model) -> Any:
        """The same model around another body."""
        return self.clone(body=body)

    @property
    def dtype(self) -> str:
        """Type that the body computes in."""
        return getattr(self.body, "dtype", "float32")

    def vectors(self) -> Float[Array, "vocab width"]:
        """Give the vectors of the tokens: the body's."""
        return self.body.vectors()

    def filled(self, vocab_size: int, context: int) -> Any:
        """The same model with what only the data knows.

        Raises:
            ValueError: the body can't read so many tokens, or has other tokens.
        """
        if self.body.vocab_size not in (0, vocab_size):
            raise ValueError(
                f"model.body.vocab_size is {self.body.vocab_size}, and the tokenizer "
                f"has {vocab_size} tokens. Leave it out: it is taken from the data."
            )
        body = self.body.filled(vocab_size, context)
        return self.clone(vocab_size=vocab_size, body=body)

    def problems(self) -> Iterator[str]:
        """Say, before anything is compiled, why these fields can't go together."""
        kind, over = type(self.body).__name__, type(self).__name__
        if self.body.causal is None or lacking(self.body, _READS):
            one = " ConvEncoder is one itself." * (over == "Classifier")
            yield (
                f"model.body={kind} gives no vector of each token of a text: a "
                f"{over.lower()} has a Transformer, Encoder, Recurrent, BiRecurrent, "
                f"GatedConv or BagOfVectors for a body.{one}"
            )
            return
        for problem in self.body.problems():
            yield problem.replace("model.", "model.body.")

    def flops_per_token(self, context: int) -> float | None:
        """As of the body, which makes no logits of tokens."""
        # Without a vocabulary they cost nothing.
        return self.body.clone(vocab_size=0).flops_per_token(context)
