"""Sums and products over the words around each word, and their gradients.

A word i of a row sees the places i to i + around - 1 of what stands before, in and
behind the row. Each of the two is the other's gradient; autodiff's own form of it adds
up as many padded copies of the row as there are places, ten times as slowly on a CPU.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

_BLOCK = 32  # Words whose products with what they see are one small matrix.


@jax.custom_vjp
def window_sums(
    weights: Float[Array, "around words"], vectors: Float[Array, "seen width"]
) -> Float[Array, "words width"]:
    """Add the vectors around each word: sum_k weights[k, i] vectors[i + k].

    Args:
        weights: of what each word sees.
        vectors: of the row, with what stands before and behind it: seen is words +
            around - 1.
    """
    # Else the weights are computed anew for each number of a vector, and the sums for
    # each use of them.
    weights, vectors = jax.lax.optimization_barrier((weights, vectors))
    around, words = weights.shape
    terms = (weights[k, :, None] * vectors[k : k + words] for k in range(around))
    total = sum(terms, start=jnp.zeros((), vectors.dtype))
    return jax.lax.optimization_barrier(total)


@jax.custom_vjp
def window_products(
    outputs: Float[Array, "words width"], vectors: Float[Array, "seen width"]
) -> Float[Array, "around words"]:
    """Multiply the output of each word with all it sees: outputs[i] . vectors[i + k].

    Blocks of words meet all vectors that any of them sees in one product of matrices,
    and the band is cut out of it: a sixth of the time of as many shifted products (one
    CPU core, jax 0.12).

    Args:
        outputs: of the words of a row.
        vectors: as of `window_sums`.
    """
    words, width = outputs.shape
    around, missing = len(vectors) - words + 1, -words % _BLOCK
    blocks = jnp.pad(outputs, ((0, missing), (0, 0))).reshape(-1, _BLOCK, width)
    begins = jnp.arange(0, words, _BLOCK)[:, None]
    seen = vectors.at[begins + jnp.arange(_BLOCK + around - 1)].get(mode="clip")
    products = jnp.einsum("ksw,ktw->kst", blocks, seen)
    # Rows that are one longer come out of step: row s begins with its entry s.
    flat = jnp.pad(products.reshape(len(blocks), -1), ((0, 0), (0, _BLOCK)))
    band = flat.reshape(len(blocks), _BLOCK, -1)[..., :around]
    return band.reshape(-1, around)[:words].T


def seen_from(weights: Shaped[Array, "around words"]) -> Shaped[Array, "around seen"]:
    """Turn round who sees: entry (around - 1 - k, i + k) is entry (k, i), others 0."""
    around, words = weights.shape
    beside = around - 1
    padded = jnp.pad(weights[::-1], ((0, 0), (beside, beside)))
    return jnp.stack([padded[k, k : k + words + beside] for k in range(around)])


def _turned_sums(weights: Array, vectors: Array) -> Array:
    """Add to each place the vectors of the words that see it."""
    beside = len(weights) - 1
    padded = jnp.pad(vectors, ((beside, beside), (0, 0)))
    return window_sums(seen_from(weights), padded)


def _sums_back(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    weights, vectors = kept
    return window_products(gradient, vectors), _turned_sums(weights, gradient)


def _products_back(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    outputs, vectors = kept
    return window_sums(gradient, vectors), _turned_sums(gradient, outputs)


window_sums.defvjp(lambda w, v: (window_sums(w, v), (w, v)), _sums_back)
window_products.defvjp(lambda o, v: (window_products(o, v), (o, v)), _products_back)
