"""What is compiled: reading a piece of a prompt, and one token for every slot.

All of it is compiled before the first request, for a few lengths of pieces. A program
that was compiled so takes no other shapes: nothing can compile later.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from lm_jax.adapting.quantized import Quantized
from lm_jax.generation import History, Sampling
from lm_jax.generation.sampling import among, permitted
from lm_jax.models.dtype import array_dtype
from lm_jax.platform import products_of
from lm_jax.runs.model import NeuralModel
from lm_jax.serving.drawing import Drawings, Scores, draw, no_drawings, scores_of

PIECES = (16, 64, 256)
"""Tokens of a piece of a prompt: the lengths that are compiled."""

LAST = 4096
"""Tokens of a text that penalties are of, where the model has no window."""


def narrowed(fitted: NeuralModel) -> NeuralModel:
    """The same network, its kernels in the type that it computes in.

    They are cast to it wherever they are used: a step would cast all of them anew.
    """
    dtype = array_dtype(getattr(fitted.model, "dtype", "float32"))
    if dtype == jnp.float32:
        return fitted

    def cast(path: Any, part: Any) -> Any:
        name = str(getattr(path[-1], "key", ""))
        used = name == "embedding" or name.endswith("kernel")
        return part.astype(dtype) if used and isinstance(part, jax.Array) else part

    kept = jax.tree_util.tree_map_with_path(
        cast, fitted.params, is_leaf=lambda part: isinstance(part, Quantized)
    )
    return replace(fitted, params=kept)


class Rows(NamedTuple):
    """What the step is told of each slot; arrays of numpy, which the engine fills.

    Attributes:
        tokens: the last token of each.
        positions: where it stands.
        writes: 1 where the slot adds a token, 0 where it waits or is free.
        scored: whether somebody asks for log-probabilities.
        allowed: a bit for each token that may be drawn, the lowest of a byte first.
        drawings: how it draws.
        history: its text, or the last of it.
    """

    tokens: Int[Array | np.ndarray, " slots"]
    positions: Int[Array | np.ndarray, " slots"]
    writes: Int[Array | np.ndarray, " slots"]
    scored: Bool[Array | np.ndarray, " slots"]
    allowed: UInt8[Array | np.ndarray, "slots bytes"]
    drawings: Drawings
    history: History

    def begin(self, slot: int, ids: Int[np.ndarray, " tokens"]) -> None:
        """Let a slot, of arrays of numpy, stand at the end of a prompt."""
        self.tokens[slot], self.positions[slot] = ids[-1], len(ids) - 1
        history: Any = self.history
        kept = ids[-history.text.shape[1] :]
        history.text[slot, : len(kept)] = kept
        history.firsts[slot] = history.ends[slot] = len(kept)

    def add(self, slot: int, token: int) -> None:
        """Add a token to the text of a slot."""
        self.tokens[slot] = token
        self.positions[slot] += 1
        self.drawings.drawn[slot] += 1
        history: Any = self.history
        if history.ends[slot] == history.text.shape[1]:  # the first token goes
            history.text[slot, :-1] = history.text[slot, 1:]
            history.firsts[slot] -= history.firsts[slot] > 0
            history.ends[slot] -= 1
        history.text[slot, history.ends[slot]] = token
        history.ends[slot] += 1

    def free(self, slot: int) -> None:
        """Let a slot wait, and ask for nothing that costs the others time."""
        self.writes[slot] = self.positions[slot] = 0
        self.scored[slot] = False
        self.drawings.set(slot, 0, 0, Sampling(temperature=0.0), 1)


def empty_rows(slots: int, columns: int, vocab_size: int) -> Rows:
    """Give the arrays of slots that are all free, with so many tokens of each text."""
    tokens, positions, writes, firsts, ends = (
        np.zeros(slots, np.int32) for _ in "wxyzt"
    )
    scored, text = np.zeros(slots, bool), np.zeros((slots, columns), np.int32)
    arrays: Any = text, firsts, ends
    history = History(*arrays)
    allowed = np.full((slots, -(-vocab_size // 8)), 255, np.uint8)
    drawings = no_drawings(slots)
    return Rows(tokens, positions, writes, scored, allowed, drawings, history)


class Step(NamedTuple):
    """What a step gives for each slot; of those that wait it means nothing.

    Attributes:
        tokens: drawn.
        finite: whether there was a largest logit to draw from.
        scores: of what was drawn.
    """

    tokens: Int[Array | np.ndarray, " slots"]
    finite: Bool[Array | np.ndarray, " slots"]
    scores: Scores


class Programs:
    """The compiled programs of a network, and its cache with a row for each slot.

    Args:
        fitted: the network.
        slots: texts that are written at once.
        context: tokens of a text that are remembered; None is the model's.

    Attributes:
        window: tokens of a text, prompt and answer, that the model may see; None has no
            limit.
        compiled: how many programs were compiled.
    """

    def __init__(self, fitted: NeuralModel, slots: int, context: int | None = None):
        self.slots, self.vocab_size = slots, fitted.model.vocab_size
        self._known = fitted.tokenizer.vocab_size
        context = min(context or fitted.context, fitted.context)
        self.window = None if fitted.model.recurrent else context
        below = [n for n in PIECES if n < context]
        self._pieces = tuple(below if context > PIECES[-1] else [*below, context])
        self._model, self._params, self._remembered = (
            fitted.model,
            fitted.params,
            context,
        )
        self.compiled = 0
        self._compile()

    def _compile(self) -> None:
        """Compile everything, and begin with an empty cache."""
        model, whole = self._model, self._remembered

        def empty():
            return model.empty_cache(self.slots, whole)

        self._cache = self._made(jax.jit(empty))()
        number, rows = np.int32(0), self.empty_rows()
        step = jax.jit(_step_of(model, self._known), donate_argnums=1)
        self._step = self._made(step, self._params, self._cache, rows)
        read = jax.jit(_read_of(model, whole), donate_argnums=1)
        self._read: dict[int, Callable] = {}
        for length in self._pieces:
            piece = np.zeros(length, np.int32), number, number, number
            self._read[length] = self._made(read, self._params, self._cache, *piece)

    def _made(self, function: Any, *inputs: Any) -> Callable:
        self.compiled += 1
        return function.lower(*inputs).compile()

    def empty_rows(self) -> Rows:
        """Give what the step is told where all slots are free."""
        return empty_rows(self.slots, self.window or LAST, self.vocab_size)

    @property
    def piece(self) -> int:
        """The most tokens that one `read` takes."""
        return self._pieces[-1]

    def read(self, slot: int, ids: Int[np.ndarray, " tokens"], position: int) -> None:
        """Remember tokens of a prompt, at most `piece`, in a slot.

        Args:
            slot: whose; its text before is forgotten where the position is 0.
            ids: tokens; none only forgets.
            position: where the first one stands.
        """
        length = next(n for n in self._pieces if n >= len(ids))
        tokens = np.zeros(length, np.int32)
        tokens[: len(ids)] = ids
        where = (np.int32(number) for number in (position, len(ids), slot))
        self._cache = self._read[length](self._params, self._cache, tokens, *where)

    def step(self, rows: Rows) -> Step:
        """Show each slot that writes its last token, and draw the one after it."""
        self._cache, step = self._step(self._params, self._cache, rows)
        return jax.device_get(step)


def _step_of(model: nn.Module, known: int) -> Callable:
    def step(params, cache, rows: Rows):
        tokens, positions = rows.tokens[:, None], rows.positions[:, None]
        with products_of(model):
            logits, cache = model.apply(
                {"params": params},
                tokens,
                positions=positions,
                segments=rows.writes[:, None],
                cache=cache,
            )
        logits = among(logits[:, 0], known)
        open_to = permitted(logits, jnp.asarray(rows.allowed))
        drawn = draw(open_to, rows.drawings, rows.history).astype(jnp.int32)
        finite = jnp.isfinite(logits.max(axis=-1))
        return cache, Step(
            drawn, finite, scores_of(logits, drawn, jnp.asarray(rows.scored))
        )

    return step


def _read_of(model: nn.Module, remembered: int) -> Callable:
    axes = _row_axes(model, remembered)

    def read(params, cache, tokens, first, count, slot):
        row = jax.tree.map(
            lambda whole, axis: jax.lax.dynamic_slice_in_dim(whole, slot, 1, axis),
            cache,
            axes,
        )
        row = jax.tree.map(
            lambda old, new: jnp.where(first == 0, new, old),
            row,
            model.empty_cache(1, remembered),
        )
        where = jnp.arange(len(tokens))
        # What follows the piece is padding: it may stand anywhere within the window.
        positions = first + where
        if not model.recurrent:
            positions = jnp.minimum(positions, remembered - 1)
        with products_of(model):
            _, row = model.apply(
                {"params": params},
                tokens[None],
                positions=positions[None],
                segments=(where < count).astype(jnp.int32)[None],
                cache=row,
            )
        return jax.tree.map(
            lambda whole, new, axis: jax.lax.dynamic_update_slice_in_dim(
                whole, new.astype(whole.dtype), slot, axis
            ),
            cache,
            row,
            axes,
        )

    return read


def _row_axes(model: Any, remembered: int) -> Any:
    """Which axis of each array of a cache is of rows: scanned layers stand first."""
    two, three = (
        jax.eval_shape(lambda n=rows: model.empty_cache(n, remembered))
        for rows in (2, 3)
    )

    def axis(a: Any, b: Any) -> int:
        sizes = enumerate(zip(a.shape, b.shape, strict=True))
        return next(k for k, (m, n) in sizes if m != n)

    return jax.tree.map(axis, two, three)
