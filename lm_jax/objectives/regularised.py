"""What keeps a classifier from learning its texts by heart, beside dropout."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def second(key: Key[Array, ""]) -> Key[Array, ""]:
    """Give the key of a second pass over the batch, with dropout of its own."""
    return jax.random.fold_in(key, zlib.crc32(b"second pass"))


def divergence(
    logits: Float[Array, "batch classes"], others: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Give the mean of the divergences of two distributions (Liang et al. 2021, eq. 2).

    (KL(p, q) + KL(q, p)) / 2, in nats.

    Args:
        logits: of one pass.
        others: of the other.
    """
    p, q = jax.nn.log_softmax(logits), jax.nn.log_softmax(others)
    return ((jnp.exp(p) - jnp.exp(q)) * (p - q)).sum(-1) / 2


def mixing(
    mask: Float[Array, " batch"], keys: Key[Array, " batch"], alpha: float
) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Say with which text of the batch each is mixed, and how much of it is its own.

    The batch is in random order: each is mixed with the next that counts, and the last
    with the first. So the rows that fill up a batch change nothing.

    Args:
        mask: 0 where a row is padding; these are the last.
        keys: of the texts.
        alpha: both parameters of the distribution of the shares.
    """
    rows = jnp.arange(mask.shape[0])
    following = (rows + 1) % mask.shape[0]
    other = jnp.where(mask[following] > 0, following, 0)

    def draw(key: Key[Array, ""]) -> Float[Array, ""]:
        key = jax.random.fold_in(key, zlib.crc32(b"mixup"))
        return jax.random.beta(key, alpha, alpha)

    return other, jax.vmap(draw)(keys)
