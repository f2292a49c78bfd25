"""Text that an n-gram model continues."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key

from lm_jax.counting.fitted import FittedNGram, check_ids
from lm_jax.errors import UserError
from lm_jax.generation.sampling import Sampling, check_seed, sample


def generate(
    fitted: FittedNGram,
    prompts: Sequence[Integer[np.ndarray, " _"]],
    length: int,
    sampling: Sampling,
    seed: int,
) -> Int[np.ndarray, "batch length"]:
    """Continue each prompt by ``length`` tokens.

    A token's random key comes from (seed, row, position in the new text), so
    the rows beside it change nothing.

    Args:
        fitted: the model.
        prompts: token ids, of any length, 0 included; lengths may differ.
        length: tokens to add to each.
        sampling: how each token is drawn.
        seed: of the draws.

    Raises:
        UserError: ids that the model doesn't know, a sampling that can't be, a
            negative length.
    """
    sampling.check(fitted.vocab_size)
    check_seed(seed)
    if length < 0:
        raise UserError(f"length={length} must be 0 or more.")
    context = fitted.order - 1
    text = np.full((len(prompts), context + length), -1)
    for row, prompt in zip(text, prompts, strict=True):
        check_ids(prompt, fitted.vocab_size)
        recent = prompt[max(0, len(prompt) - context) :]
        row[context - len(recent) : context] = recent
    if len(prompts) > 0:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(
            jax.random.key(seed), jnp.arange(len(prompts))
        )
        for position in range(length):
            p = fitted.next_probabilities(text[:, position : position + context])
            with np.errstate(divide="ignore"):
                logits = np.log(p).astype(np.float32)
            text[:, position + context] = _draw(logits, keys, position, sampling)
    return text[:, context:]


@functools.partial(jax.jit, static_argnames="sampling")
def _draw(
    logits: Float[Array, "batch vocab"],
    keys: Key[Array, " batch"],
    position: Int[Array, ""],
    sampling: Sampling,
) -> Int[Array, " batch"]:
    """Draw the token at a position of the new text for each row."""
    return sample(
        logits, jax.vmap(jax.random.fold_in, (0, None))(keys, position), sampling
    )
