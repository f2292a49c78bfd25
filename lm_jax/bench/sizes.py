"""The models that are measured, and what they read."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from lm_jax.models import (
    LSTM,
    MLP,
    Classifier,
    Encoder,
    First,
    Learned,
    Recurrent,
    Transformer,
)
from lm_jax.objectives import Classify, NextToken

Mode = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Size:
    """A GPT and its batch.

    Attributes:
        layers, heads, width, context, vocab_size: of the model.
        batch: contexts in a step.
    """

    layers: int
    heads: int
    width: int
    context: int
    batch: int
    vocab_size: int

    @property
    def objective(self) -> NextToken | Classify:
        """What is learnt."""
        return NextToken()

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.batch * self.context

    @property
    def flops(self) -> float:
        """Floating point operations of a step, as the model counts them."""
        return self.tokens * self.model().flops_per_token(self.context)

    def model(self, dtype: Mode = "float32") -> Transformer:
        """The model in lm_jax."""
        return Transformer(
            layers=self.layers,
            heads=self.heads,
            width=self.width,
            positions=Learned(self.context),
            vocab_size=self.vocab_size,
            dtype=dtype,
        )

    def batches(self, count: int) -> list[dict[str, Int[np.ndarray, "batch time"]]]:
        """Some batches of random tokens, the same at every call."""
        random = np.random.default_rng(0)
        shape = (count, self.batch, self.context + 1)
        tokens = random.integers(self.vocab_size, size=shape, dtype=np.int32)
        return [{"inputs": t[:, :-1], "targets": t[:, 1:]} for t in tokens]


@dataclass(frozen=True)
class LSTMSize(Size):
    """Two layers of LSTM and their batch; each goes on where the last one ended."""

    def model(self, dtype: Mode = "float32") -> Recurrent:  # type: ignore[override]
        """The model in lm_jax."""
        return Recurrent(
            LSTM(),
            layers=self.layers,
            width=self.width,
            vocab_size=self.vocab_size,
            dtype=dtype,
        )

    def batches(self, count: int) -> list[dict[str, Int[np.ndarray, "batch ..."]]]:
        """Some batches of random tokens, the same at every call."""
        starts = {"starts": np.zeros(self.batch, np.int32)}
        return [batch | starts for batch in super().batches(count)]


@dataclass(frozen=True)
class BERTSize(Size):
    """A BERT that tells two classes apart, as it is adapted to sentences."""

    dropout: float = 0.1
    """Rate, in the blocks and on the text's vector."""

    @property
    def objective(self) -> Classify:
        """What is learnt."""
        return Classify()

    def model(  # type: ignore[override]
        self, dtype: Mode = "float32"
    ) -> Classifier:
        """The model in lm_jax."""
        body = Encoder(
            layers=self.layers,
            heads=self.heads,
            width=self.width,
            positions=Learned(self.context),
            feedforward=MLP(activation="gelu_exact"),
            norm_epsilon=1e-12,
            segment_types=2,
            vocab_size=self.vocab_size,
            dropout=self.dropout,
            dtype=dtype,
        )
        return Classifier(body, First(), classes=2, dropout=self.dropout)

    def batches(self, count: int) -> list[dict[str, Int[np.ndarray, "batch ..."]]]:
        """Some batches of random tokens and classes, the same at every call."""
        random = np.random.default_rng(0)
        shape = (count, self.batch, self.context)
        tokens = random.integers(self.vocab_size, size=shape, dtype=np.int32)
        labels = random.integers(2, size=shape[:2], dtype=np.int32)
        whole = {
            "segments": np.ones(shape[1:], np.int32),
            "mask": np.ones(self.batch, np.float32),
        }
        pairs = zip(tokens, labels, strict=True)
        return [{"inputs": t, "label": label} | whole for t, label in pairs]


Name = Literal["0.8M", "10.7M", "124M", "LSTM200", "LSTM650", "BERT-mini"]
SIZES: dict[str, Size] = {
    "0.8M": Size(4, 4, 128, context=64, batch=12, vocab_size=65),
    "10.7M": Size(6, 6, 384, context=256, batch=8, vocab_size=65),
    "124M": Size(12, 12, 768, context=1024, batch=1, vocab_size=50304),
    "LSTM200": LSTMSize(2, 0, 200, context=35, batch=20, vocab_size=10_000),
    "LSTM650": LSTMSize(2, 0, 650, context=35, batch=20, vocab_size=10_000),
    "BERT-mini": BERTSize(4, 4, 256, context=128, batch=32, vocab_size=30522),
}
