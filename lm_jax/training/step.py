"""One training step and one evaluation step: pure functions."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey
from jaxtyping import Array, Bool, Key, UInt32

from lm_jax.averages import Running
from lm_jax.kernels.placement import platform
from lm_jax.models.cache import continued
from lm_jax.objectives import Guide, ObjectiveBase
from lm_jax.optimizers import begun
from lm_jax.platform import products_of
from lm_jax.schedules import Curve
from lm_jax.selectors import parted, together
from lm_jax.training.state import TrainState

Batch = dict[str, Array]
# Of parameters, and of the key of what is dropped in a step of training.
View = Callable[..., Any]
Seed = int | UInt32[Array, ""]


class Constants(NamedTuple):
    """What steps are given beside state and batch, and leave as it is.

    As arguments: what is compiled holds no copy of it, and serves every seed.

    Attributes:
        seed: of dropout.
        guide: parameters of the run that the objective reads, or None.
        rates: learning rate of each step, where runs of several schedules are
            computed together; else None.
    """

    # Any: the same tree also holds shapes.
    seed: Any
    guide: Any = None
    rates: Any = None


def named_key(seed: Seed, purpose: str) -> Key[Array, ""]:
    """The key of one purpose: no other purpose's draws can move it."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def numbered(batch: Batch) -> Batch:
    """Add "row", the number of each example: its random keys come from it."""
    rows = next(iter(batch.values())).shape[0]
    return batch | {"row": jnp.arange(rows)}


def make_train_step(
    model: nn.Module,
    objective: ObjectiveBase,
    transformation: optax.GradientTransformation,
    curve: Curve,
    *,
    seed: Seed,
    accumulate: int = 1,
    average: Running | None = None,
    frozen: Any = None,
    begins: Any = None,
    view: View | None = None,
    products: bool = False,
    skip: int = 0,
    guide: Guide | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Make ``train_step(state, batch) -> (state, metrics)``.

    One call is one optimizer update. The loss is a sum over the whole batch
    divided once by its weight, so that parts, masks and devices don't change
    it. A loss, gradient or new state that isn't finite leaves the state as it was
    and clears ``state.finite``, which stops all later updates; or, where steps may be
    skipped, leaves all but the step and the schedule's as it was.

    Args:
        model, objective: what is trained, and to do what.
        transformation: optax's update rule.
        curve: learning rate of each step, for the metrics.
        seed: of dropout.
        accumulate: parts that a batch is computed in; must divide its rows.
        average: of the weights, that each step adds to.
        frozen: true for each parameter that is not trained; None trains all.
        begins: the step at which the training of each of the others begins; None is
            the first for all. It has no share in the gradient's norm before.
        view: of all parameters and a step's key, that the model is called with; None
            changes none.
        products: whether the update multiplies matrices: then it is made but once.
        skip: steps in a row that may be skipped; the state counts them.
        guide: the model of another run, that the objective reads.
    """
    transformation = optax.with_extra_args_support(transformation)
    gradients = make_gradients(
        model,
        objective,
        seed=seed,
        accumulate=accumulate,
        frozen=frozen,
        view=view,
        guide=guide,
    )

    def train_step(state: TrainState, batch: Batch):
        sums, carry = gradients(state, batch)
        loss, weight, gradient = sums
        weight = jnp.maximum(weight, 1.0)
        loss = loss / weight

        def mean(gradient: Any) -> Any:
            gradient = jax.tree.map(lambda g: g / weight, gradient)
            return gradient if begins is None else begun(gradient, begins, state.step)

        norm = optax.tree.norm(mean(gradient))

        def updated(state: TrainState, gradient: Any) -> TrainState:
            # Divided again where it is read: the mean is another pass over memory.
            told = mean(gradient), norm, transformation, average, frozen
            return _updated(state, *told).replace(carry=carry)

        new = updated(state, gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm) & still_finite(state, new)
        finite &= state.finite
        if platform() == "cpu" and not products:
            # Made again, where the state lies: to choose between two states is another
            # pass over both, of a third of all that the update moves.
            new = jax.lax.cond(finite, updated, lambda old, _: old, state, gradient)
        else:
            new = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, state)
        new = new.replace(finite=finite)
        metrics = {
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": curve(state.step) * state.scale,
        }
        if skip:
            new = _passed_over(new, skip)
            metrics["skipped"] = new.skipped
        return new, metrics | {"finite": new.finite}

    return train_step


def _passed_over(state: TrainState, skip: int) -> TrainState:
    """The state after a step that may be skipped where it isn't finite.

    Args:
        state: after the step; where that isn't finite, still the one before.
        skip: how many steps in a row may be skipped: one more stops the run.
    """
    row = jnp.where(state.finite, 0, state.skipped + 1)
    passed = ~state.finite & (row <= skip)

    def gone_on(part: Any) -> Any:
        # Its rate is that of the step; what an optimizer counts is updates.
        by_step = isinstance(part, optax.ScaleByScheduleState)
        return part._replace(count=part.count + passed) if by_step else part

    return state.replace(
        step=state.step + passed,
        opt_state=jax.tree.map(
            gone_on,
            state.opt_state,
            is_leaf=lambda part: isinstance(part, optax.ScaleByScheduleState),
        ),
        finite=state.finite | passed,
        skipped=row,
    )


def still_finite(before: Any, after: Any) -> Bool[Array, ""]:
    """Whether no entry that was finite is infinite or not a number afterwards.

    A finite gradient does not say so: an optimizer's division can overflow, and what is
    carried to the next batch has no part in this one's loss.
    """

    def stays(old: Array, new: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return jnp.ones(new.shape, bool)
        return jnp.isfinite(new) | ~jnp.isfinite(old)

    # A parameter and its statistics are looked at in one pass.
    kept: dict[Any, Array] = {}
    for path, each in jax.tree.leaves_with_path(jax.tree.map(stays, before, after)):
        name = tuple(part for part in path if isinstance(part, DictKey)), each.shape
        kept[name] = kept.get(name, True) & each
    return jnp.stack([each.all() for each in kept.values()]).all()


def make_gradients(
    model: nn.Module,
    objective: ObjectiveBase,
    *,
    seed: Seed,
    accumulate: int = 1,
    frozen: Any = None,
    view: View | None = None,
    guide: Guide | None = None,
) -> Callable[[TrainState, Batch], tuple[tuple[Array, Array, Any], Any]]:
    """Make ``gradients(state, batch) -> ((loss, weight, gradient), carry)``.

    All three are sums over the batch, taken in ``accumulate`` parts one after the
    other. See `make_train_step` for the arguments.
    """
    root = named_key(seed, "dropout")
    beside = () if guide is None else (guide,)

    def loss_of(trained: Any, fixed: Any, batch: Batch, key: Array, carry: Any):
        params = together(trained, fixed)
        params = params if view is None else view(params, key)
        sums = objective(model, params, batch, key, carry, *beside)
        return sums.loss, (sums.weight, sums.carry)

    with_gradient = jax.value_and_grad(loss_of, has_aux=True)

    def differentiate(*args: Any):
        with products_of(model):
            return with_gradient(*args)

    def gradients(state: TrainState, batch: Batch):
        key = jax.random.fold_in(root, state.step)
        fixed, trained = _by_training(state.params, frozen)
        batch = numbered(batch)
        carry = continued(state.carry, batch)
        if accumulate == 1:
            return _sums(differentiate(trained, fixed, batch, key, carry))

        def of_part(batch: Batch, carry: Any):
            return _sums(differentiate(trained, fixed, batch, key, carry))

        parts = _parts(batch, accumulate), _parts(carry, accumulate)
        return _accumulated(of_part, *parts)

    return gradients


def _sums(value_and_gradient: tuple) -> tuple[tuple[Array, Array, Any], Any]:
    """Sums of a batch as `make_gradients` gives them."""
    (loss, (weight, carry)), gradient = value_and_gradient
    return (loss, weight, gradient), carry


def _parts(rows: Any, parts: int) -> Any:
    """Divide rows into parts of every parts-th one.

    Strided parts keep each row on the device that holds it.
    """
    return jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), rows
    )


def _accumulated(gradients, batch: Batch, carry: Any):
    """Sum over the parts of a batch; put the rows of the carry together again."""

    def add(total, part):
        sums, carry = gradients(*part)
        return jax.tree.map(jnp.add, total, sums), carry

    first = jax.tree.map(lambda x: x[0], (batch, carry))
    shapes, _ = jax.eval_shape(gradients, *first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, carry = jax.lax.scan(add, zeros, (batch, carry))
    whole = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), carry
    )
    return sums, whole


def _by_training(params: Any, frozen: Any) -> tuple[Any, Any]:
    """Part parameters into those that are frozen and those that are trained."""
    if frozen is None:
        frozen = jax.tree.map(lambda _: False, params)
    return parted(params, frozen)


def _updated(state: TrainState, gradient, norm, transformation, average, frozen):
    fixed, trained = _by_training(state.params, frozen)
    told = {"norm": norm, "step": state.step, "scale": state.scale}
    updates, opt_state = transformation.update(
        gradient, state.opt_state, trained, **told
    )
    trained = optax.apply_updates(trained, updates)
    mean, count = state.average, state.averaged
    if average is not None:
        _, mean = _by_training(mean, frozen)
        if count is not None:
            count = jnp.where(count > 0, count + 1, 0)
        share = average.share(count)
        mean = together(optax.incremental_update(trained, mean, share), fixed)
    return state.replace(
        step=state.step + 1,
        params=together(trained, fixed),
        opt_state=opt_state,
        average=mean,
        averaged=count,
    )


def make_evaluation_step(
    model: nn.Module, objective: ObjectiveBase, guide: nn.Module | None = None
) -> Callable[..., tuple[dict[str, Array], Any]]:
    """Make ``evaluation_step(params, batch, carry[, guide]) -> (sums, carry)``.

    The sums are the objective's metrics and "weight".

    Args:
        model, objective: what is scored, and how.
        guide: the model whose parameters are given last, where scores need another.
    """

    def evaluation_step(params: Any, batch: Batch, carry: Any, beside: Any = None):
        carry = continued(carry, batch)
        more = () if guide is None else (Guide(guide, beside),)
        with products_of(model):
            sums = objective(model, params, batch, None, carry, *more)
        return sums.metrics | {"weight": sums.weight}, sums.carry

    return evaluation_step
