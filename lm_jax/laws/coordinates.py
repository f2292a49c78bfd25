"""The coordinate check of muP: how activations and their changes grow with the width.

Yang et al. 2022, D.1. It is necessary, not sufficient: that a learning rate transfers
is shown by rate sweeps alone (`lm_jax.laws.transfer`).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lm_jax.errors import UserError
from lm_jax.experiment import Execution, Experiment
from lm_jax.models import MuP, mup_rates
from lm_jax.schedules import Constant
from lm_jax.sharding import to_mesh
from lm_jax.training.compiled import Compiled
from lm_jax.training.resolved import Setup
from lm_jax.training.setup import set_up
from lm_jax.training.step import numbered

GROWS = 0.25  # powers of the width: what is further from 0 is said

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Coordinates:
    """Mean sizes of activations over widths.

    Attributes:
        widths: of the models.
        layers: whose activations they are, first to last.
        start: mean |x| before the first step, (widths, layers).
        changes: mean |x - x at the start| after each step, (steps, widths, layers).
    """

    widths: tuple[int, ...]
    layers: tuple[str, ...]
    start: Float[np.ndarray, "widths layers"]
    changes: Float[np.ndarray, "steps widths layers"]

    def powers(self, sizes: Float[np.ndarray, "widths layers"]) -> list[float]:
        """The power of the width that each layer's size grows with."""
        logs = np.log(np.maximum(sizes, 1e-30))
        return np.polyfit(np.log(self.widths), logs, 1)[0].tolist()

    @property
    def moved(self) -> dict[str, float]:
        """The layers whose last change grows or shrinks with the width, and the power.

        With muP every change is as large at all widths.
        """
        powers = self.powers(self.changes[-1])
        found = dict(zip(self.layers, powers, strict=True))
        return {name: power for name, power in found.items() if abs(power) > GROWS}


def at_width(experiment: Experiment, width: int) -> Experiment:
    """The experiment with another width, and muP's rates of that width if it has them.

    Raises:
        UserError: its model has no width, or can't have this one.
    """
    model: Any = experiment.model
    # What stands over a body is as wide as that.
    body = getattr(model, "body", model)
    if "width" not in {field.name for field in fields(body)}:
        kind = type(body).__name__
        raise UserError(f"{kind} has no field 'width': there is nothing to widen.")
    wider, optimizer = body.clone(width=width), experiment.optimizer
    wider = wider if body is model else model.with_body(wider)
    initial = getattr(body, "initial", None)
    if isinstance(initial, MuP):
        base = initial.base_width
        if optimizer.rates == mup_rates(model, base):
            optimizer = replace(optimizer, rates=mup_rates(wider, base))
    return replace(experiment, model=wider, optimizer=optimizer)


def coordinates(
    experiment: Experiment,
    widths: tuple[int, ...],
    steps: int = 4,
    progress: Progress | None = None,
) -> Coordinates:
    """Train a few steps at each width, and measure activations after each.

    All widths see the same batches at the schedule's peak, without warmup, and are
    measured on the first batch without dropout.

    Args:
        experiment: of any width.
        widths: two or more.
        steps: that are trained.
        progress: told (description, done, total).

    Raises:
        UserError: a width can't be trained; too few widths.
    """
    if len(set(widths)) < 3 or min(widths) < 1 or steps < 1:
        raise UserError("A coordinate check needs 3 widths and a step at the least.")
    widths = tuple(sorted(set(widths)))
    setups = [set_up(_short(experiment, width, steps)) for width in widths]
    found = []
    for done, setup in enumerate(setups):
        if progress is not None:
            progress("training a few steps of each width", done, len(widths))
        found.append(_measured(setup, steps))
    if progress is not None:
        progress("training a few steps of each width", len(widths), len(widths))
    layers = tuple(found[0][0])
    table = np.array([[list(sizes.values()) for sizes in each] for each in found])
    if not np.isfinite(table).all():
        raise UserError("An activation is not finite: try a lower --schedule.peak.")
    return Coordinates(widths, layers, table[:, 0], table[:, 1:].swapaxes(0, 1))


def _short(experiment: Experiment, width: int, steps: int) -> Experiment:
    """The experiment at a width, cut to a few steps at its peak rate."""
    return replace(
        at_width(experiment, width),
        schedule=Constant(experiment.schedule.peak),
        budget=f"{steps} steps",
        average=None,
        execution=Execution(),
    )


def _measured(setup: Setup, steps: int) -> list[dict[str, float]]:
    """Sizes at the start, then changes after each step, by layer."""
    step, constants = Compiled(setup).step, setup.constants()
    batch = numbered(to_mesh(setup.order.batch(0), setup.mesh))
    state = setup.first_state()

    @jax.jit
    def activations(params):
        return _activations(setup, params, batch)

    @jax.jit
    def apart(params, start):
        now = _activations(setup, params, batch)
        return jax.tree.map(lambda a, b: jnp.abs(a - b).mean(), now, start)

    start = activations(state.params)
    found = [{name: float(jnp.abs(x).mean()) for name, x in start.items()}]
    for k in range(steps):
        state, _ = step(state, to_mesh(setup.order.batch(k), setup.mesh), constants)
        changes = jax.device_get(apart(state.params, start))
        # A jitted dictionary comes back sorted.
        found.append({name: float(changes[name]) for name in start})
    return found


def _activations(setup: Setup, params: Any, batch: dict) -> dict[str, jax.Array]:
    """What each part of the model gives, float32, by its name; and the logits."""
    carry = setup.model.empty_cache(setup.carried, 0) if setup.carried else None
    (logits, _), kept = setup.model.apply(
        {"params": params},
        batch,
        carry,
        None,
        method=setup.experiment.objective.predict,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    found: dict[str, jax.Array] = {}
    for path, leaf in jax.tree.leaves_with_path(kept["intermediates"]):
        names = [part.key for part in path if hasattr(part, "key")]
        place = "/".join(name for name in names if name != "__call__")
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            found.setdefault(place or "features", leaf.astype(jnp.float32))
    return found | {"logits": logits.astype(jnp.float32)}
