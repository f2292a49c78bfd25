"""lm_jax's side of the comparison: the project's own training step."""

import itertools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lm_jax.bench.sizes import LSTMSize, Size
from lm_jax.durations import Units
from lm_jax.mesh import make_mesh
from lm_jax.models.stack import initialise
from lm_jax.optimizers import SGD, AdamW, transformation
from lm_jax.schedules import WarmupCosine
from lm_jax.sharding import Sharding, on_mesh, state_shardings, to_mesh
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step

MODES = ("float32", "bfloat16")


def version() -> str:
    """What is measured."""
    return f"jax {jax.__version__}"


def matrix_rate(dtype: str, m: int, k: int, n: int) -> float:
    """Operations a second of a product of (m, k) and (k, n), at its best."""
    a, b = jnp.ones((m, k), dtype), jnp.ones((k, n), dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(a, b).block_until_ready()
    times: list[float] = []
    while len(times) < 3 or (len(times) < 30 and sum(times) < 1.0):
        begin = time.perf_counter()
        multiply(a, b).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * m * k * n / min(times)


def training(size: Size) -> Callable[[str, int], float]:
    """A function that trains for some steps and returns the last loss.

    Its arguments are a mode and a number of steps. The modes share parameters
    and optimizer state, which are float32 in all of them.
    """
    mesh = make_mesh(Sharding(), jax.devices()[:1])
    batches = itertools.cycle(size.batches(8))
    curve = WarmupCosine(1e-3, warmup="100 steps", final=1e-4).curve(
        2000, Units(size.tokens, 1.0, size.flops)
    )
    params = initialise(size.model(), jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    optimizer: AdamW | SGD = AdamW(b2=0.99, weight_decay=0.1, clip=1.0)
    carry = None
    if isinstance(size, LSTMSize):
        optimizer, carry = SGD(momentum=0.0), size.model().empty_cache(size.batch, 0)
    rule = transformation(optimizer, curve, params)
    state = first_state(params, rule, carry=carry)
    shardings = state_shardings(Sharding(), mesh, state)
    state = jax.device_put(state, shardings)

    def compiled(dtype):
        step = make_train_step(size.model(dtype), size.objective, rule, curve, seed=0)
        step = on_mesh(step, Sharding(), mesh)
        return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))

    step = {dtype: compiled(dtype) for dtype in MODES}

    def train(mode: str, steps: int) -> float:
        nonlocal state
        metrics = {"loss": jnp.nan}
        for _ in range(steps):
            late = metrics
            state, metrics = step[mode](state, to_mesh(next(batches), mesh))
            float(late["loss"])  # read one step late, as the loop does
        return float(metrics["loss"])

    return train
