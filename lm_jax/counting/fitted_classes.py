"""A fitted classifier that counts: what each n-gram says of each class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Int

from lm_jax.counting.bags import Grams, bags
from lm_jax.counting.saved import load_arrays, loading, save_arrays


@dataclass(frozen=True, eq=False)
class FittedClasses:
    """Scores of classes, linear in the n-grams of a text."""

    writes: ClassVar[bool] = False

    grams: Grams
    weights: Float64[np.ndarray, "grams classes"]
    bias: Float64[np.ndarray, " classes"]
    labels: tuple[str, ...]
    """Names of the classes."""
    binary: bool
    """Whether an n-gram counts once in a text."""
    logistic: bool
    """Whether a score is the logit of its class against all others."""
    statement: str
    """A sentence on what was fitted, and to what."""

    @property
    def parameters(self) -> int:
        """Give the number of weights and biases."""
        return self.weights.size + self.bias.size

    def log_probabilities(
        self, texts: list[Int[np.ndarray, " _"]]
    ) -> Float64[np.ndarray, "texts classes"]:
        """Give ln p of each class of each text.

        Args:
            texts: tokens of each.
        """
        from scipy.special import log_expit, log_softmax, logsumexp

        scores = bags(texts, self.grams, self.binary) @ self.weights + self.bias
        if not self.logistic:
            return log_softmax(scores, axis=1)
        each = log_expit(scores)
        return each - logsumexp(each, axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Write all to one .npz file, whole or not at all.

        Raises:
            UserError: the file cannot be written.
        """
        about = {
            "labels": self.labels,
            "binary": self.binary,
            "logistic": self.logistic,
            "statement": self.statement,
            "vocab_size": self.grams.vocab_size,
        }
        arrays: dict[str, Any] = {
            f"keys{n}": keys for n, keys in enumerate(self.grams.keys, 1)
        }
        arrays |= {"weights": self.weights, "bias": self.bias}
        save_arrays(path, about, arrays)


def load_classes(path: Path) -> FittedClasses:
    """Read what `FittedClasses.save` wrote.

    Raises:
        UserError: there is no such file, or it holds no such model.
    """
    with loading(path, "classifier"):
        about, arrays = load_arrays(path)
        weights, bias = arrays.pop("weights"), arrays.pop("bias")
        keys = tuple(arrays[f"keys{n}"] for n in range(1, len(arrays) + 1))
        grams = Grams(about.pop("vocab_size"), keys)
        about["labels"] = tuple(about["labels"])
        return FittedClasses(grams, weights, bias, **about)
