"""Layers split over devices: rows go through them in microbatches, one after the other.

By a circular schedule (Xu et al. 2021, "GSPMD", 3.3): in each tick every stage computes
one microbatch and hands it on, so that a program for many devices is one loop over one
stage, mapped over all of them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.kernels.placement import Placement, current, placed, ways

# Of weights, a number, rows and what goes with them: rows, and numbers of each row.
Stage = Callable[[Any, Int[Array, ""], Array, Any], tuple[Array, Any]]


def microbatches_of(rows: int, layers: int) -> int:
    """Into how many microbatches rows are divided; 0 where they go through whole.

    Args:
        rows: of a batch.
        layers: that devices may split.
    """
    placement, stages = current(), ways("layers", layers)
    if placement is None or stages == 1:
        return 0
    with placed(_of_a_stage(placement)):
        devices = ways("batch")
    parts = placement.microbatches or stages
    fits = parts % stages == 0 and rows % (parts * devices) == 0
    return parts if fits else 0


def pipelined(
    stage: Stage,
    weights: Any,
    x: Float[Array, "batch ..."],
    beside: Any,
    path: tuple[str, ...],
    microbatches: int,
) -> tuple[Float[Array, "batch ..."], Any]:
    """Let rows go through layers that lie on the devices of several stages.

    Args:
        stage: some layers in turn. It gives, beside the rows, a tree of arrays (layers
            of a stage, rows).
        weights: of all layers, which are the first axis of each.
        x: the rows.
        beside: arrays that go with them, rows first.
        path: of the weights in the model.
        microbatches: parts of the rows; a multiple of the stages.

    Returns:
        The rows after all layers, and the tree with arrays (layers, batch).
    """
    outside = current()
    assert outside is not None
    layers = jax.tree.leaves(weights)[0].shape[0]
    stages = ways("layers", layers)
    number, slots = jnp.arange(stages), microbatches // stages
    first, last = (
        (number == n).reshape(stages, *[1] * x.ndim) for n in (0, stages - 1)
    )
    inside = _of_a_stage(outside, path)
    on_stages = jax.vmap(stage, spmd_axis_name="stage")

    def put(rows: Array, *between: None) -> Array:
        lies = inside.split("batch", rows.shape[1 + len(between)])
        time = inside.split("time", rows.shape[2 + len(between)])
        return inside.put(rows, "stage", *between, lies, time)

    def tick(carry: tuple[Array, Array], time: Array) -> Any:
        # Each stage holds some microbatches that wait. They move towards the first
        # stage, which reads one; the last one puts what is done into the free place.
        handed, waiting = carry
        next_ones = jax.lax.dynamic_index_in_dim(waiting, time % slots, 1, False)
        read = put(jnp.where(first, next_ones, jnp.roll(handed, 1, 0)))
        here = jnp.clip(time - number, 0, microbatches - 1)
        made, told = on_stages(
            weights_of, number, read, jax.tree.map(lambda part: part[here], parts)
        )
        made = put(made)
        moved = jnp.where(last, made, jnp.roll(next_ones, -1, 0))
        waiting = jax.lax.dynamic_update_index_in_dim(waiting, moved, time % slots, 1)
        return (made, put(waiting, None)), told

    weights_of = jax.tree.map(lambda w: w.reshape(stages, -1, *w.shape[1:]), weights)
    parts = jax.tree.map(
        lambda rows: rows.reshape(microbatches, -1, *rows.shape[1:]), beside
    )
    waiting = put(x.reshape(stages, slots, -1, *x.shape[1:]), None)
    with placed(inside):
        # What is computed of rows that stand in for none yet is never read.
        (_, done), told = jax.lax.scan(
            tick, (waiting[:, 0], waiting), jnp.arange(microbatches + stages - 1)
        )
    done = jnp.roll(done, 1 - stages, 1).reshape(x.shape)

    def of_rows(told: Array) -> Array:
        # Stage s reads microbatch m at tick m + s.
        at = jnp.arange(microbatches)[:, None] + number
        found = jnp.moveaxis(told[at, number], 0, 2)
        return found.reshape(layers, len(x), *found.shape[4:])

    return done, jax.tree.map(of_rows, told)


def _of_a_stage(placement: Placement, path: tuple[str, ...] = ()) -> Placement:
    """Where things lie inside a stage: rows are not split over stages there.

    Args:
        placement: outside.
        path: of the weights of all layers.
    """

    def of_weight(name: str, rank: int) -> Any:
        inner = name.removeprefix("params/")
        return placement.of_weight("/".join(("params", *path, inner)), rank)

    split = placement.activations
    batch = tuple(axis for axis in split["batch"] if axis != "stage")
    activations = {**split, "batch": batch, "layers": ()}
    return dataclasses.replace(
        placement, activations=activations, of_weight=of_weight, staged=True
    )
