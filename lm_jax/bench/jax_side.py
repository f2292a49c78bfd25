"""lm_jax's side of the comparison: the project's own training step."""

import itertools
import time
from typing import get_args

import jax
import jax.numpy as jnp

from lm_jax.bench.sizes import LSTMSize, Mode, Size
from lm_jax.durations import Units
from lm_jax.mesh import make_mesh
from lm_jax.models.stack import initialise
from lm_jax.optimizers import SGD, AdamW, transformation
from lm_jax.schedules import WarmupCosine
from lm_jax.sharding import Sharding, on_mesh, state_shardings, to_mesh
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step

MODES: tuple[Mode, ...] = get_args(Mode)


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


class Training:
    """Trains for some steps, in either mode.

    The modes share parameters and optimizer state, which are float32 in both.

    Attributes:
        size: of what is trained.
    """

    def __init__(self, size: Size):
        self.size = size
        self._batches = itertools.cycle(size.batches(8))
        self._curve = WarmupCosine(1e-3, warmup="100 steps", final=1e-4).curve(
            2000, Units(size.tokens, 1.0, size.flops)
        )
        tokens = jnp.zeros((1, 2), jnp.int32)
        params = initialise(size.model(), jax.random.key(0), tokens)
        optimizer: AdamW | SGD = AdamW(b2=0.99, weight_decay=0.1, clip=1.0)
        carry = None
        if isinstance(size, LSTMSize):
            optimizer = SGD(momentum=0.0)
            carry = size.model().empty_cache(size.batch, 0)
        self._rule = transformation(optimizer, self._curve, params)
        self._mesh = make_mesh(Sharding(), jax.devices()[:1])
        state = first_state(params, self._rule, carry=carry)
        self._shardings = state_shardings(Sharding(), self._mesh, state)
        self._state = jax.device_put(state, self._shardings)
        self._compiled: dict[Mode, jax.stages.Compiled] = {}

    def __call__(self, mode: Mode, steps: int) -> float:
        """Train for some steps, and give the last loss."""
        step = self.step(mode)
        metrics = {"loss": jnp.nan}
        for _ in range(steps):
            late = metrics
            batch = to_mesh(next(self._batches), self._mesh)
            self._state, metrics = step(self._state, batch)
            float(late["loss"])  # read one step late, as the loop does
        return float(metrics["loss"])

    def step(self, mode: Mode) -> jax.stages.Compiled:
        """Give the compiled step of a mode, of (state, batch)."""
        if mode not in self._compiled:
            model, objective = self.size.model(mode), self.size.objective
            step = make_train_step(model, objective, self._rule, self._curve, seed=0)
            step = on_mesh(step, Sharding(), self._mesh)
            out = (self._shardings, None)
            jitted = jax.jit(step, donate_argnums=0, out_shardings=out)
            batch = to_mesh(self.size.batches(1)[0], self._mesh)
            self._compiled[mode] = jitted.lower(self._state, batch).compile()
        return self._compiled[mode]


training = Training
