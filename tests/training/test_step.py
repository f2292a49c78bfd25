"""One step: sums, parts, masks, devices, averages, and what isn't finite."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.averages import AverageAfter, MovingAverage
from lm_jax.mesh import make_mesh
from lm_jax.models import Dropouts, Recurrent, Relative, Rotary, Transformer
from lm_jax.models.stack import initialise
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD, AdamW, transformation
from lm_jax.sharding import Sharding, on_mesh, state_shardings, to_mesh
from lm_jax.training.state import first_state
from lm_jax.training.step import (
    make_evaluation_step,
    make_gradients,
    make_train_step,
)
from tests.first import first_params
from tests.programs import dots
from tests.properties import slow_but

MODEL = Transformer(
    layers=1, heads=2, width=16, vocab_size=16, positions=Rotary(), dropout=0.1
)
# For what is the same of every model: it compiles in a quarter of the time.
SMALL = MODEL.clone(layers=0)
CARRIED = Recurrent(width=16, vocab_size=16, dropout=Dropouts(0.1, 0.1, 0.1, 0.1, 0.1))
# Unlike Adam, it tells a gradient from the same one times a number.
PLAIN = SGD(momentum=0.9, clip=None)
ROWS, TIME = 8, 6


def batch(seed=0, mask=False, starts=None):
    rng = np.random.default_rng(seed)
    text = rng.integers(0, 16, (ROWS, TIME + 1)).astype(np.int32)
    made = {"inputs": text[:, :-1], "targets": text[:, 1:]}
    if mask:
        made["mask"] = rng.integers(0, 2, (ROWS, TIME)).astype(np.float32)
    if starts is not None:
        made["starts"] = np.full(ROWS, starts, np.int32)
    return {name: jnp.asarray(array) for name, array in made.items()}


def parts(average=None, optimizer=None, model=SMALL, params=None, **options):
    if params is None:
        params = first_params(model, 0, jnp.zeros((1, 2), jnp.int32))
    optimizer = optimizer or AdamW()
    rule = transformation(optimizer, lambda step: 0.01, params)
    step = make_train_step(
        model, NextToken(), rule, lambda s: 0.01, seed=1, average=average, **options
    )
    carry = model.empty_cache(ROWS, 0) if model is CARRIED else None
    return step, first_state(params, rule, average, carry)


def run(step, state, batches, mesh=None):
    losses = []
    step = jax.jit(step)
    for one in batches:
        state, metrics = step(state, one if mesh is None else to_mesh(one, mesh))
        losses.append(float(metrics["loss"]))
    return state, losses


def in_place(step):
    """The step as it is traced for a CPU: the update is made where the state lies."""
    sharding = Sharding()
    return on_mesh(step, sharding, make_mesh(sharding, jax.devices()[:1]))


def close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@functools.cache
def plainly(mask=False):
    """Three batches, and the state and losses after them in one part on one device."""
    batches = [batch(k, mask) for k in range(3)]
    return batches, *run(*parts(optimizer=PLAIN, model=MODEL), batches)


@pytest.mark.parametrize("where", [in_place, lambda step: step], ids=["cpu", "any"])
def test_the_norm_is_the_mean_gradients_and_clips_it(where):
    step, state = parts(optimizer=SGD(momentum=0.0, clip=0.1))
    one = batch(mask=True)
    after, metrics = jax.jit(where(step))(state, one)
    (_, weight, sums), _ = make_gradients(SMALL, NextToken(), seed=1)(state, one)
    assert weight == one["mask"].sum() > 1
    gradient = jax.tree.map(lambda g: g / weight, sums)
    norm = optax.tree.norm(gradient)
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    assert norm > 0.1
    clipped = jax.tree.map(lambda p, g: p - 0.001 * g / norm, state.params, gradient)
    close(after.params, clipped, 1e-6)


@pytest.mark.parametrize("mask", slow_but([False, True], True))
@pytest.mark.parametrize("accumulate", slow_but([2, 8], 2))
def test_accumulated_equals_whole(mask, accumulate):
    """With dropout on, and parts whose masks have different weights."""
    batches, whole, whole_losses = plainly(mask)
    summed, losses = run(
        *parts(optimizer=PLAIN, model=MODEL, accumulate=accumulate), batches
    )
    np.testing.assert_allclose(whole_losses, losses, rtol=1e-5)
    close(whole.params, summed.params, 1e-6)


BOTH = Sharding(fsdp=2, tensor=2)


@pytest.mark.parametrize(
    "sharding",
    slow_but([Sharding(), BOTH], BOTH),
    ids=lambda s: f"fsdp{s.fsdp}-tensor{s.tensor}",
)
def test_sharded_equals_single(sharding):
    """Dropout included: no random number depends on the mesh."""
    batches, single, expected = plainly()
    mesh = make_mesh(sharding, jax.devices())
    step, state = parts(optimizer=PLAIN, model=MODEL)
    placed = jax.device_put(state, state_shardings(sharding, mesh, state))
    if sharding.fsdp * sharding.tensor > 1:
        kernel = placed.params["block_0"]["up"]["kernel"]
        assert kernel.addressable_shards[0].data.size < kernel.size
    result, losses = run(on_mesh(step, sharding, mesh), placed, batches, mesh)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    close(single.params, jax.device_get(result.params), 1e-6)


def test_the_biases_of_two_heads_need_not_split_over_four_devices():
    model = Transformer(layers=1, heads=2, width=8, positions=Relative(), vocab_size=16)
    tokens = jnp.zeros((1, 4), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)
    sharding = Sharding(fsdp=4)
    mesh = make_mesh(sharding, jax.devices())
    placed = state_shardings(sharding, mesh, shapes)["params"]
    assert placed["block_0"]["attention"]["relative"]["embedding"].is_fully_replicated
    assert not placed["embedding"].is_fully_replicated


@pytest.mark.parametrize("how", slow_but(["accumulated", "sharded"], "sharded"))
def test_a_carried_state_is_the_same_in_parts_and_on_devices(how):
    """The second and third batch go on from the first; the fourth begins anew."""
    batches = [batch(k, starts=int(k in (0, 3))) for k in range(4)]
    whole, expected = run(*parts(model=CARRIED), batches)
    if how == "accumulated":
        result, losses = run(*parts(model=CARRIED, accumulate=4), batches)
    else:
        mesh = make_mesh(Sharding(), jax.devices())
        step, state = parts(model=CARRIED)
        placed = jax.device_put(state, state_shardings(Sharding(), mesh, state))
        hidden = placed.carry[0]["hidden"]
        assert hidden.addressable_shards[0].data.size < hidden.size
        result, losses = run(on_mesh(step, Sharding(), mesh), placed, batches, mesh)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    close(whole.carry, jax.device_get(result.carry), 2e-4)
    forgotten = [one | {"starts": jnp.ones(ROWS, jnp.int32)} for one in batches]
    _, others = run(*parts(model=CARRIED), forgotten)
    assert others[0] == expected[0] and abs(others[1] - expected[1]) > 1e-5


@pytest.mark.slow
def test_the_loss_is_optaxs_mean_over_the_mask():
    made = batch(mask=True)
    step, state = parts()
    evaluate = jax.jit(make_evaluation_step(SMALL, NextToken()))
    sums, _ = evaluate(state.params, made, None)
    logits, _ = SMALL.apply({"params": state.params}, made["inputs"])
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, made["targets"])
    np.testing.assert_allclose(sums["nats"], (nats * made["mask"]).sum(), rtol=1e-5)
    assert sums["weight"] == made["mask"].sum()
    whole = {name: made[name] for name in ("inputs", "targets")}
    np.testing.assert_allclose(
        evaluate(state.params, whole, None)[0]["nats"], nats.sum(), rtol=1e-5
    )


def test_dropout_changes_with_the_step_and_not_with_the_order_of_seeds():
    step, state = parts()
    _, (first,) = run(step, state, [batch()])
    _, (again,) = run(step, state, [batch()])
    _, (later,) = run(step, state.replace(step=state.step + 1), [batch()])
    assert first == again != later


def test_the_seed_decides_what_is_dropped():
    gradients = (jax.jit(make_gradients(SMALL, NextToken(), seed=s)) for s in (1, 2))
    _, state = parts()
    (first, *_), (other, *_) = (made(state, batch())[0] for made in gradients)
    assert first != other


def test_average_follows_the_parameters():
    step, state = parts(average=MovingAverage(0.75))
    after, _ = run(step, state, [batch()])
    expected = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * new, state.params, after.params
    )
    close(after.average, expected, 1e-6)
    assert after.evaluated is after.average
    plain, _ = run(*parts(), [batch()])
    assert plain.average is None
    assert plain.evaluated is plain.params


@pytest.mark.slow
def test_a_plain_average_is_the_mean_of_the_weights_since_it_began():
    step, state = parts(average=AverageAfter())
    before, _ = run(step, state, [batch(0)])
    close(before.average, before.params, 1e-7)
    began = before.replace(averaged=jnp.ones((), jnp.int32))
    one, _ = run(step, began, [batch(1)])
    two, _ = run(step, one, [batch(2)])
    mean = jax.tree.map(lambda *p: sum(p) / 3, before.params, one.params, two.params)
    close(two.average, mean, 1e-6)
    assert two.averaged == 3


@pytest.mark.slow
def test_scale_multiplies_the_update():
    step, state = parts(optimizer=AdamW(weight_decay=0.0))
    full, _ = run(step, state, [batch()])
    half, _ = run(step, state.replace(scale=jnp.asarray(0.5)), [batch()])
    expected = jax.tree.map(lambda a, b: (a + b) / 2, state.params, full.params)
    close(half.params, expected, 1e-6)


def test_the_rate_of_a_step_is_used_and_logged_at_that_step():
    """Plain gradient descent, whose rates are those of a schedule that falls."""
    model = SMALL.clone(dropout=0.0)

    def curve(step):
        return 0.5 / (step + 1)

    _, state = parts(model=model)
    rule = transformation(SGD(momentum=0.0, clip=None), curve, state.params)
    step = jax.jit(make_train_step(model, NextToken(), rule, curve, seed=1))
    gradients = jax.jit(make_gradients(model, NextToken(), seed=1))
    state = first_state(state.params, rule).replace(scale=jnp.asarray(0.5))
    for k in range(3):
        (_, weight, gradient), _ = gradients(state, batch(k))
        after, metrics = step(state, batch(k))
        rate = 0.5 * curve(k)
        assert float(metrics["learning_rate"]) == pytest.approx(rate, rel=1e-6)
        down = jax.tree.map(lambda p, g: p - rate * g / weight, state.params, gradient)  # noqa: B023
        close(after.params, down, 1e-6)
        assert after.step == k + 1
        state = after


def test_what_is_not_finite_stops_every_later_update():
    step, state = parts()
    broken = state.replace(
        params=jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(jnp.nan), state.params)
    )
    after, losses = run(step, broken, [batch(0), batch(1)])
    assert np.isnan(losses).all()
    assert not after.finite
    assert after.step == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, broken.params)
    healed = after.replace(params=state.params)
    still, _ = run(step, healed, [batch(2)])
    assert still.step == 0


class Edge(NextToken):
    """A loss as it is, with a gradient that isn't finite: the root of 0."""

    def __call__(self, model, params, batch, key, carry=None):
        sums = super().__call__(model, params, batch, key, carry)
        return sums._replace(loss=sums.loss + jnp.sqrt(0.0 * params["embedding"].sum()))


def test_a_gradient_that_is_not_finite_changes_nothing_under_a_finite_loss():
    _, state = parts()
    rule = transformation(AdamW(), lambda step: 0.01, state.params)
    step = make_train_step(SMALL, Edge(), rule, lambda step: 0.01, seed=1)
    after, (loss,) = run(step, state, [batch()])
    assert np.isfinite(loss) and not after.finite and after.step == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)


@pytest.mark.slow
def test_z_loss_is_the_squared_log_normaliser():
    made = batch(mask=True) | {"row": jnp.arange(ROWS)}
    _, state = parts()
    quiet = SMALL.clone(dropout=0.0)
    key = jax.random.key(0)
    plain, weight, *_ = NextToken()(quiet, state.params, made, key)
    with_z, *_ = NextToken(z_loss=0.1)(quiet, state.params, made, key)
    logits, _ = quiet.apply({"params": state.params}, made["inputs"])
    squares = jnp.square(jax.nn.logsumexp(logits, axis=-1)) * made["mask"]
    np.testing.assert_allclose(with_z - plain, 0.1 * squares.sum(), rtol=1e-4)
    assert weight == made["mask"].sum()


@pytest.mark.parametrize("dtype", slow_but(["float32", "tf32", "bfloat16"], "tf32"))
@pytest.mark.parametrize("model", slow_but([MODEL, CARRIED], MODEL))
def test_every_product_of_a_step_is_as_precise_as_the_type_says(model, dtype):
    """Those of the gradient too, in parts or whole, and of an evaluation."""
    precision = {"tf32": "HIGH"}.get(dtype, "HIGHEST")
    model = model.clone(dtype=dtype)
    for accumulate in (1, 2):
        step, state = traced_parts(model, accumulate)
        check_precision(jax.make_jaxpr(step)(state, batch(starts=0)), precision)
    score = here(make_evaluation_step(model, NextToken()))
    made = jax.make_jaxpr(score)(state.params, batch(starts=0), state.carry)
    check_precision(made, precision)


def test_what_the_user_says_of_precision_holds():
    with jax.default_matmul_precision("bfloat16"):
        step, state = traced_parts(MODEL)
        check_precision(jax.make_jaxpr(step)(state, batch()), "DEFAULT")


def here(step):
    """Traced for the CPU alone, as trainings are for their devices."""
    return on_mesh(step, Sharding(), make_mesh(Sharding(), jax.devices()[:1]))


def traced_parts(model, accumulate=1):
    """A step, and the shapes of its state: nothing is compiled."""
    made = []

    def make():
        key, tokens = jax.random.key(0), jnp.zeros((1, 2), jnp.int32)
        params = initialise(model, key, tokens)
        step, state = parts(model=model, params=params, accumulate=accumulate)
        made.append(here(step))
        carry = model.empty_cache(ROWS, 0) if model.recurrent else None
        return state.replace(carry=carry)

    state = jax.eval_shape(make)
    return made[0], state


def check_precision(program, name):
    found = list(dots(program))
    assert len(found) > 4
    assert {p.name for dot in found for p in dot.params["precision"]} == {name}


def spoilt(leaf):
    """An update rule that makes a part of its result infinite, at finite gradients."""

    def update(gradient, state, params):
        made = jax.tree.map(jnp.zeros_like, gradient)
        bad = jax.tree.map(lambda x: jnp.where(x.size == leaf, jnp.inf, x), made)
        return (bad, state) if leaf else (made, state / 0)

    return optax.GradientTransformation(lambda params: jnp.ones(()), update)


@pytest.mark.parametrize(
    "rule",
    [
        AdamW(weight_decay=1e30),  # times the rate more than float32 holds
        spoilt(16 * 16),  # one matrix of all
        spoilt(None),  # the optimizer's state alone
    ],
    ids=["decay", "one parameter", "state"],
)
@pytest.mark.parametrize(
    "form",
    [pytest.param(lambda step: step, marks=pytest.mark.slow), in_place],
    ids=["chosen", "in place"],
)
def test_an_update_that_is_not_finite_is_not_made(rule, form):
    """Loss and gradient are finite; what is kept is the state before."""
    params = parts()[1].params
    if isinstance(rule, AdamW):
        rule = transformation(rule, lambda step: 1e30, params)
    state = first_state(params, rule)
    step = form(make_train_step(SMALL, NextToken(), rule, lambda s: 0.01, seed=1))
    after, metrics = jax.jit(step)(state, batch())
    assert np.isfinite(metrics["loss"]) and np.isfinite(metrics["grad_norm"])
    assert not metrics["finite"] and not after.finite
    assert after.step == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)


@pytest.mark.slow
def test_an_update_in_place_is_the_update():
    step, state = parts(MovingAverage(0.5))
    chosen, losses = run(step, state, [batch(k) for k in range(2)])
    placed, same = run(in_place(step), state, [batch(k) for k in range(2)])
    assert losses == same
    close(placed, chosen, 1e-6)


def test_a_carry_that_is_not_finite_is_not_kept():
    """It has no part in the loss that it comes out with."""
    step, state = parts(model=CARRIED)

    class Overflowing(NextToken):
        def __call__(self, *args):
            sums = super().__call__(*args)
            return sums._replace(carry=jax.tree.map(lambda c: c / 0, sums.carry))

    rule = transformation(AdamW(), lambda step: 0.01, state.params)
    step = make_train_step(CARRIED, Overflowing(), rule, lambda s: 0.01, seed=1)
    after, metrics = jax.jit(step)(state, batch(starts=0))
    assert np.isfinite(metrics["loss"]) and not metrics["finite"]
    jax.tree.map(np.testing.assert_array_equal, after.carry, state.carry)
