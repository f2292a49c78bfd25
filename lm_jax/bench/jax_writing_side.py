"""lm_jax's side of `bench generate`: the project's own generation."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.adapting.quantized import quantize
from lm_jax.bench.jax_side import version
from lm_jax.exchange.exporting import architecture_for, write_checkpoint
from lm_jax.exchange.reading import read_checkpoint
from lm_jax.generation import Sampling, continue_prompts
from lm_jax.generation.steps import advance
from lm_jax.models import Learned, Transformer
from lm_jax.models.stack import initialise
from lm_jax.runs.model import NeuralModel
from lm_jax.selectors import path_name
from lm_jax.serving.programs import narrowed

__all__ = ["MODES", "Writer", "make", "version"]

MODES = ("float32", "bfloat16", "int8")


def make(folder: str, layers: int, width: int, vocab: int, context: int) -> dict:
    """Write a decoder of GPT-2's shape with first values, as a Hugging Face folder."""
    model = Transformer(
        layers=layers,
        heads=max(1, width // 64),
        width=width,
        positions=Learned(context),
        use_bias=True,
        vocab_size=vocab,
    )
    params = initialise(model, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    arrays = {path_name(path): np.asarray(leaf) for path, leaf in leaves}
    found = architecture_for(model, context, "gpt2")
    write_checkpoint(Path(folder), found, arrays, {})
    return {"parameters": sum(array.size for array in arrays.values())}


class Writer:
    """The model of a folder, in each mode.

    Args:
        folder: that `make` wrote.
    """

    def __init__(self, folder: str):
        self.checkpoint = read_checkpoint(Path(folder))
        self._fitted = {mode: self._in(mode) for mode in MODES}

    def _in(self, mode: str) -> NeuralModel:
        """The model with weights in a type; those of int8 are used in bfloat16."""
        found = self.checkpoint
        dtype = "float32" if mode == "float32" else "bfloat16"
        params = quantize(found.params) if mode == "int8" else found.params
        model: Any = found.model.clone(dtype=dtype)
        nothing: Any = None
        return narrowed(NeuralModel(nothing, nothing, model, params, found.context, 0))

    def write(
        self, mode: str, prompts: Sequence[Sequence[int]], tokens: int, first: bool
    ) -> dict:
        """Go on greedily.

        Args:
            mode: of the weights.
            prompts: token ids.
            tokens: to write, for each prompt.
            first: whether to stop after the first one.

        Returns:
            "seconds" that it took, the "tokens", and how many "programs" were compiled
            so far to write tokens.
        """
        fitted = self._fitted[mode]
        arrays = [np.array(prompt, np.int32) for prompt in prompts]
        begin = time.perf_counter()
        found = continue_prompts(
            fitted.model,
            fitted.params,
            arrays,
            tokens,
            fitted.context,
            Sampling(temperature=0.0),
            0,
            # The same program, left after its first token.
            watch=(lambda rows: [True] * len(rows)) if first else None,
            each=1,
        )
        seconds = time.perf_counter() - begin
        written = [row[0].tokens.tolist() for row in found]
        programs = advance._cache_size()  # type: ignore[attr-defined]
        return {"seconds": seconds, "tokens": written, "programs": programs}
