"""Which words move the decision of a classifier.

The words of a text are rows of the embedding. A table of the text's own rows, read
in order, stands in for it: so the decision is a function of the vectors, of any model,
and has a gradient by them.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lm_jax.adapting import dequantized
from lm_jax.data.examples import joined
from lm_jax.errors import UserError, nearest
from lm_jax.inspection.formulations import encoded, words_of
from lm_jax.models.model import lacking
from lm_jax.platform import products_of
from lm_jax.runs.model import CountedModel, NeuralModel
from lm_jax.tokenizers.trained import Around

# Points of the path from the baseline; doubled while the sum is off by more than this.
FIRST_POINTS, MOST_POINTS, GAP = 64, 512, 0.01
_TOGETHER = 16  # points that are computed together


class Row(NamedTuple):
    """A text, or the texts of a pair, as a classifier reads them.

    Attributes:
        tokens: of one row.
        segments: 1 in the first text, 2 in the second.
        words: the number of each token's word.
        cut: tokens that didn't fit.
    """

    tokens: Int[np.ndarray, " time"]
    segments: Int[np.ndarray, " time"]
    words: Int[np.ndarray, " time"]
    cut: int


class Decision(NamedTuple):
    """What a classifier says of a text, and what each token adds to it.

    The baseline is the text with all vectors zero.

    Attributes:
        names: of the outputs.
        outputs: a logit of each class, or one number.
        chosen: the output that is explained.
        row: what was read.
        symbols: how each token is printed.
        gradient_times_input: of each token.
        integrated: integrated gradients of each token.
        difference: the chosen output less the baseline's.
        points: of the path, by which gradients were integrated.
    """

    names: tuple[str, ...]
    outputs: Float[np.ndarray, " outputs"]
    chosen: int
    row: Row
    symbols: list[str]
    gradient_times_input: Float[np.ndarray, " time"]
    integrated: Float[np.ndarray, " time"]
    difference: float
    points: int

    @property
    def gap(self) -> float:
        """How far the integrated gradients are from adding up to the difference.

        A share of it; in the limit of many points there is none (Sundararajan et al.
        2017, proposition 1).
        """
        return relative_gap(self.integrated, self.difference)

    @property
    def probabilities(self) -> Float[np.ndarray, " outputs"]:
        """Of each class."""
        powers = np.exp(self.outputs - self.outputs.max())
        return powers / powers.sum()

    def by_word(self, values: Float[np.ndarray, " time"]) -> list[tuple[str, float]]:
        """Add up what the tokens of each word add, in the order of the text."""
        words = self.row.words
        sums = np.bincount(words, values, words.max() + 1)
        texts = [""] * len(sums)
        for word, symbol in zip(words, self.symbols, strict=True):
            texts[word] += symbol
        return list(zip((text.strip() for text in texts), sums.tolist(), strict=True))


def explain(
    model: NeuralModel | CountedModel, texts: Sequence[str], label: str = ""
) -> Decision:
    """Say what a classifier decides of a text, or of a pair, and by which words.

    Args:
        model: a network that tells classes, or a number.
        texts: one, or the two of a pair.
        label: the class whose logit is explained; the likeliest, if "".

    Raises:
        UserError: the model is none such, or has no such class; a text has no token.
    """
    network = _told(model)
    names = network.labels or ("value",)
    if label and label not in names:
        raise UserError(f"--label {label!r} is no class.{nearest(label, names)}")
    row, params = row_of(network, texts), dequantized(network.params)
    vectors = np.asarray(params["embedding"][row.tokens], np.float32)
    run = functools.partial(_outputs, network.model, params)
    outputs = np.asarray(run(vectors, row.segments))
    base = np.asarray(run(np.zeros_like(vectors), row.segments))
    chosen = names.index(label) if label else int(np.argmax(outputs))
    difference = float(outputs[chosen] - base[chosen])
    gradient = functools.partial(
        gradients, network.model, params, vectors, row.segments, chosen
    )
    integrated, points = _integrated(vectors, gradient, difference)
    return Decision(
        names,
        outputs,
        chosen,
        row,
        network.tokenizer.symbols(row.tokens),
        (np.asarray(gradient(np.ones(1, np.float32))[0]) * vectors).sum(-1),
        integrated,
        difference,
        points,
    )


def _told(model: NeuralModel | CountedModel) -> NeuralModel:
    """The network that tells something of a text.

    Raises:
        UserError: it tells nothing of a whole text, or isn't moved by vectors.
    """
    if isinstance(model, CountedModel):
        raise UserError(
            "This model was fitted by counting: what moves its decisions are the "
            "weights of n-grams, which no gradient is needed for and `inspect` doesn't "
            "show."
        )
    if not model.experiment.objective.tells:
        raise UserError("This model tells no class and no number of a text.")
    if model.embeds:
        raise UserError(
            "This model compares the vectors of two texts, which `inspect` doesn't "
            "explain: `evaluate --predictions FILE` writes the cosine of each pair."
        )
    if lacking(model.model, {"class_logits": ()}):
        objective = type(model.experiment.objective).__name__
        raise UserError(
            f"This model was trained by {objective}: what it tells is of parts of a "
            "text. `inspect` explains what is told of a whole one; `evaluate` scores "
            "this model."
        )
    if "embedding" not in model.params:
        raise UserError(
            f"{type(model.model).__name__} has no parameter `embedding`, which words "
            "are rows of: nothing says how its decisions move with them."
        )
    return model


def _apart(around: Around | None) -> Around | None:
    """Numbers that are no word's, in the place of what stands around texts."""
    if around is None:
        return None
    return Around((-1,) * len(around.first), (-2,) * len(around.second), -3)


def row_of(model: NeuralModel, texts: Sequence[str]) -> Row:
    """Give the row that a classifier reads, as its data makes it.

    Raises:
        UserError: it reads one text, or two; one has no token.
    """
    paired = bool(getattr(model.experiment.data, "pair", ""))
    if len(texts) != 1 + paired:
        wanted = "pairs: give --text two texts" if paired else "one text: give one"
        raise UserError(f"This model reads {wanted}, not {len(texts)}.")
    number = words_of(model.tokenizer)
    parts = [encoded(model.tokenizer, text) for text in texts]
    words = [number(text, ids) for text, ids in zip(texts, parts, strict=True)]
    if (end := model.tokenizer.end_id) is not None:
        parts = [np.append(ids, end) for ids in parts]
        words = [np.append(w, w.max() + 1) for w in words]
    if paired:
        words[1] = words[1] + words[0].max() + 1
    around = model.tokenizer.around
    kept = joined(parts, model.context, around)
    kept_words = joined(words, model.context, _apart(around))
    sizes = [len(part) for part in kept]
    segments = np.repeat(np.arange(1, len(kept) + 1), sizes)
    tokens, numbers = np.concatenate(kept), np.concatenate(kept_words)
    # Whatever stands around texts is of no word of theirs.
    numbers = np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0)
    cut = sum(map(len, joined(parts, 1 << 30, around))) - len(tokens)
    return Row(tokens.astype(np.int32), segments.astype(np.int32), numbers, cut)


def _of_vectors(
    model: Any, params: Any, vectors: Array, segments: Array
) -> Float[Array, " outputs"]:
    """Give the outputs for a text whose words have these vectors."""
    time = len(vectors)
    if not lacking(model, {"with_body": ()}):
        model = model.with_body(model.body.clone(vocab_size=time))
    model = model.clone(vocab_size=time)
    variables = {"params": {**params, "embedding": vectors}}
    tokens = jnp.arange(time, dtype=jnp.int32)[None]

    def outputs(model: nn.Module) -> Array:
        hidden, _ = model.features(tokens, segments=segments[None])
        return model.class_logits(hidden)[0]

    with products_of(model):
        return nn.apply(outputs, model)(variables)


_outputs = jax.jit(_of_vectors, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 4))
def gradients(
    model: nn.Module,
    params: Any,
    vectors: Float[Array, "time width"],
    segments: Int[Array, " time"],
    chosen: int,
    points: Float[Array, " points"],
) -> Float[Array, "points time width"]:
    """Give the gradient of an output by the words' vectors, on the way from zero.

    Args:
        model: a classifier.
        params: its parameters.
        vectors: of the text's tokens.
        segments: of these.
        chosen: the output.
        points: of the way: 0 is the baseline, 1 the text.
    """

    def output(vectors: Array) -> Array:
        return _of_vectors(model, params, vectors, segments)[chosen]

    def at(point: Array) -> Array:
        return jax.grad(output)(point * vectors)

    return jax.lax.map(at, points, batch_size=_TOGETHER)


def _integrated(
    vectors: np.ndarray, gradient: Any, difference: float
) -> tuple[Float[np.ndarray, " time"], int]:
    """Integrated gradients, by as many points as they need to add up."""
    points = FIRST_POINTS
    while True:
        found = integrated_gradients(vectors, gradient, points)
        if relative_gap(found, difference) <= GAP or points >= MOST_POINTS:
            return found, points
        points *= 2


def integrated_gradients(
    vectors: Float[np.ndarray, "time width"], gradient: Any, points: int
) -> Float[np.ndarray, " time"]:
    """Integrate gradients from zero vectors on (Sundararajan et al. 2017, eq. 1).

    By Gauss and Legendre's points and weights, as captum does, of the way's fourth
    root: behind a norm a decision changes at once where vectors leave zero, and points
    stand closer there. The integral is the same.

    Args:
        vectors: of the words.
        gradient: (points) -> (points, time, width).
        points: how many.
    """
    nodes, weights = np.polynomial.legendre.leggauss(points)
    roots = (1 + nodes) / 2
    found = gradient((roots**4).astype(np.float32))
    weights = weights / 2 * 4 * roots**3
    mean = np.einsum("p,ptw->tw", weights, np.asarray(found, np.float64))
    return (mean * vectors).sum(-1)


def relative_gap(values: Float[np.ndarray, " time"], difference: float) -> float:
    """How far values are from adding up to a difference, as a share of it."""
    off = abs(float(values.sum()) - difference)
    return off / max(abs(difference), 1e-6)
