from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lm_jax.errors import UserError
from lm_jax.models import Learned, MoE, Transformer
from lm_jax.models.stack import stack_blocks, unstack_blocks
from lm_jax.optimizers import (
    SGD,
    Adadelta,
    Adafactor,
    AdamW,
    Lion,
    Muon,
    RMSProp,
    transformation,
)
from tests.first import first_params
from tests.properties import slow_but

ALL = [SGD(), AdamW(), RMSProp(), Adadelta(), Adafactor(), Lion(), Muon()]
PARAMS = {
    "block_0": {"kernel": jnp.arange(12.0).reshape(3, 4) / 10, "scale": jnp.ones(3)},
    "embedding": -jnp.ones((5, 3)),
}


def gradients(step=0):
    leaves, tree = jax.tree.flatten(PARAMS)
    keys = jax.random.split(jax.random.key(step), len(leaves))
    return jax.tree.unflatten(
        tree,
        [jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)],
    )


def walk(rule, steps=5, params=PARAMS):
    state = rule.init(params)
    update = jax.jit(rule.update)
    for step in range(steps):
        updates, state = update(gradients(step), state, params)
        params = optax.apply_updates(params, updates)
    return params


def ours(optimizer, curve=lambda step: 0.01):
    return transformation(optimizer, curve, PARAMS)


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


MASK = {"block_0": {"kernel": True, "scale": False}, "embedding": True}
REFERENCES = [
    (
        AdamW(b1=0.8, b2=0.9, weight_decay=0.1, clip=1.0),
        optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(0.01, 0.8, 0.9, weight_decay=0.1, mask=MASK),
        ),
    ),
    (
        SGD(momentum=0.9, nesterov=True, clip=None),
        optax.sgd(0.01, 0.9, nesterov=True),
    ),
    (SGD(momentum=0.0, clip=None), optax.sgd(0.01)),
    (
        SGD(momentum=0.0, clip=0.7),
        optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.01)),
    ),
    (
        Lion(weight_decay=0.2, clip=None),
        optax.lion(0.01, weight_decay=0.2, mask=MASK),
    ),
    (Adafactor(), optax.adafactor(0.01)),
    (RMSProp(0.9, clip=None), optax.adam(0.01, 0.0, 0.9)),
]


@pytest.mark.parametrize(("value", "reference"), REFERENCES)
def test_equals_optaxs_own(value, reference):
    same(walk(ours(value)), walk(reference))


@pytest.mark.parametrize("square", ["float32", "bfloat16"])
def test_moments_in_bfloat16_cost_an_update_their_rounding_alone(square):
    """Each rounding is of 2^-9 at most, and the mean holds ten steps of them."""
    wide = AdamW(b2=0.95, clip=None, weight_decay=0.0)
    half = replace(wide, mean_dtype="bfloat16", square_dtype=square)
    rules = [ours(optimizer, lambda step: 1.0) for optimizer in (half, wide)]
    states = [rule.init(PARAMS) for rule in rules]
    for step in range(6):
        found = [
            rule.update(gradients(step), state, PARAMS)
            for rule, state in zip(rules, states, strict=True)
        ]
        (updates, wanted), states = zip(*found, strict=True)
        apart = max(
            float(jnp.abs(a - b).max())
            for a, b in zip(*map(jax.tree.leaves, (updates, wanted)), strict=True)
        )
        assert apart == 0.0 if step == 0 else 0.0 < apart < 10 * 2.0**-9
        (moments,) = (part for part in states[0] if hasattr(part, "mu"))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(moments.mu)} == {"bfloat16"}
        assert {leaf.dtype.name for leaf in jax.tree.leaves(moments.nu)} == {square}


def test_a_mean_of_squares_that_could_never_fall_is_refused():
    with pytest.raises(UserError, match="needs optimizer.b2 of 0.996 or less"):
        AdamW(square_dtype="bfloat16")
    assert AdamW(b2=0.996, square_dtype="bfloat16").b2 == 0.996


def test_each_update_has_the_rate_of_its_own_step():
    """The first has that of step 0."""
    rule = ours(SGD(momentum=0.0, clip=None), lambda step: 0.5 / (step + 1))
    state = rule.init(PARAMS)
    for step in range(4):
        updates, state = rule.update(gradients(step), state, PARAMS)
        expected = optax.tree.scale(-0.5 / (step + 1), gradients(step))
        same(updates, expected)


def test_muon_orthogonalises_hidden_kernels_only():
    rule = ours(Muon(weight_decay=0.0, clip=None), lambda step: 1.0)
    updates, _ = rule.update(gradients(), rule.init(PARAMS), PARAMS)
    singular = jnp.linalg.svd(updates["block_0"]["kernel"], compute_uv=False)
    # 0.2 sqrt(max(rows, columns)) for each direction, within Newton-Schulz.
    np.testing.assert_allclose(singular, 0.2 * 4**0.5, rtol=0.4)
    # Adam's first step is 1: there is no look ahead.
    np.testing.assert_allclose(jnp.abs(updates["embedding"]), 1.0, rtol=1e-3)


@pytest.mark.parametrize("optimizer", ALL)
def test_decay_reaches_only_its_parameters_and_rate_zero_freezes(optimizer):
    chosen = replace(
        optimizer, weight_decay=0.5, decays=(("kernel", True), (".*", False))
    )
    with_decay = walk(ours(chosen))
    without = walk(ours(replace(chosen, weight_decay=0.0)))
    same(with_decay["embedding"], without["embedding"])
    same(with_decay["block_0"]["scale"], without["block_0"]["scale"])
    moved = jnp.abs(with_decay["block_0"]["kernel"] - without["block_0"]["kernel"])
    assert moved.max() > 1e-4
    frozen = replace(chosen, rates=(("block_0", 0.0), (".*", 1.0)))
    kept = walk(ours(frozen))
    jax.tree.map(np.testing.assert_array_equal, kept["block_0"], PARAMS["block_0"])
    same(kept["embedding"], with_decay["embedding"])


def grown(path, value):
    """First values of layers 0, 1, 2 scaled by 1, 5, 25; of experts too."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    layer = int(name[6]) if name.startswith("block_") else 0
    sizes = 5.0 ** np.arange(2).reshape(2, 1, 1) if value.ndim == 3 else 1.0
    return (value + 0.01) * 5.0**layer * sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer", slow_but(ALL, Adafactor()), ids=lambda v: type(v).__name__
)
def test_scanned_blocks_are_updated_like_unrolled_ones(optimizer):
    model = Transformer(
        layers=3,
        heads=2,
        width=8,
        vocab_size=5,
        positions=Learned(4),
        use_bias=True,
        feedforward=MoE(experts=2, k=1, ratio=1.0),
    )
    params = first_params(model, 0, jnp.zeros((1, 2), jnp.int32))
    params = jax.tree_util.tree_map_with_path(grown, params)

    @jax.jit
    def three_steps(params):
        rule = transformation(optimizer, lambda step: 0.1, params)
        state = rule.init(params)
        for size in (1.0, -0.5, 0.1):
            gradient = optax.tree.scale(size, params)
            updates, state = rule.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    unrolled = three_steps(params)
    scanned = unstack_blocks(three_steps(stack_blocks(params)))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5),
        unrolled,
        scanned,
    )
    # A run goes on from the other's checkpoint.
    assert jax.tree.map(jnp.shape, unrolled) == jax.tree.map(jnp.shape, scanned)


@pytest.mark.parametrize(
    "optimizer", slow_but([Adafactor(), Muon(weight_decay=0.0)], Adafactor())
)
@pytest.mark.parametrize("stacked", ["experts", "layers"])
def test_an_expert_or_layer_is_updated_as_if_it_were_alone(optimizer, stacked):
    """Of three whose weights and gradients are 1, 5 and 25 times as large."""
    kernel, bias = jax.random.normal(jax.random.key(1), (4, 6)), jnp.arange(1.0, 7.0)
    blocks = {
        f"block_{i}": {"up": {"kernel": 5.0**i * kernel, "bias": 5.0**i * bias}}
        for i in range(3)
    }

    @jax.jit
    def first_update(params):
        rule = transformation(optimizer, lambda step: 0.1, params)
        return rule.update(params, rule.init(params), params)[0]

    if stacked == "layers":  # with a norm, beside which no kernel stands
        for i, block in enumerate(blocks.values()):
            block["norm"] = {"scale": 5.0**i * bias}
        together = unstack_blocks(first_update(stack_blocks(blocks)))
    else:
        stacks = jax.tree.map(lambda *each: jnp.stack(each), *blocks.values())
        (found,) = first_update({"block_0": stacks}).values()
        together = {
            name: jax.tree.map(lambda array, i=i: array[i], found)
            for i, name in enumerate(blocks)
        }
    for name, block in blocks.items():
        alone = first_update({"block_0": block})["block_0"]
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4),
            together[name],
            alone,
        )


def test_a_selector_with_a_gap_is_refused():
    with pytest.raises(UserError, match="optimizer.decays"):
        ours(AdamW(decays=(("kernel", True),)))


def test_muon_without_hidden_matrices_is_refused():
    with pytest.raises(UserError, match="selects no parameter"):
        ours(Muon()).init({"layer_0": {"kernel": jnp.ones((3, 4))}})


def test_muon_of_a_vector_is_refused():
    params = {"block_0": {"kernel": jnp.ones((3, 4)), "scale": jnp.ones(3)}}
    with pytest.raises(UserError, match="'block_0/scale', which is no matrix"):
        ours(Muon(hidden=(("block", True), (".*", False)))).init(params)


@pytest.mark.parametrize("iterations", [5, 3])
def test_muon_is_jordans(iterations):
    """Three steps of https://github.com/KellerJordan/Muon, written out in numpy."""
    beta, momentum, kernel = 0.9, np.zeros((3, 4)), PARAMS["block_0"]["kernel"]
    muon = Muon(beta=beta, iterations=iterations, weight_decay=0.0, clip=None)
    rule = ours(muon, lambda step: 1.0)
    state = rule.init(PARAMS)
    for step in range(3):
        updates, state = rule.update(gradients(step), state, PARAMS)
        gradient = np.asarray(gradients(step)["block_0"]["kernel"], np.float64)
        momentum = beta * momentum + (1 - beta) * gradient
        x = beta * momentum + (1 - beta) * gradient
        x = x / (np.linalg.norm(x) + 1e-7)
        for _ in range(iterations):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        found = -updates["block_0"]["kernel"] / (0.2 * max(kernel.shape) ** 0.5)
        np.testing.assert_allclose(found, x, atol=2e-4)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(),
        RMSProp(),
        SGD(momentum=0.0),
        RMSProp(weight_decay=0.1),
        RMSProp(l1=0.1),
        RMSProp(towards_initial=0.1),
    ],
    ids=repr,
)
def test_what_is_still_stays_where_no_gradient_is(optimizer):
    """And what isn't moves: by its momentum, or by what draws weights."""
    rule = ours(optimizer)
    updates, state = rule.update(gradients(), rule.init(PARAMS), PARAMS)
    params = optax.apply_updates(PARAMS, updates)
    none = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, after = rule.update(none, state, params)
    moved = jax.tree.leaves(updates)
    if not optimizer.still:
        was, now = jax.tree.leaves(state), jax.tree.leaves(after)
        moved += [a - b for a, b in zip(was, now, strict=True) if a.ndim]
    assert optimizer.still != any(np.any(each) for each in moved)


def test_adadelta_is_zeilers():
    """Algorithm 1 with rho 0.95; the same numbers as torch.optim.Adadelta's."""
    x = np.array([1.0, -2.0, 0.5])
    params = {"embedding": jnp.asarray(x)}
    rule = transformation(Adadelta(), lambda step: 1.0, params)
    state, squares, moved = rule.init(params), np.zeros(3), np.zeros(3)
    for _ in range(5):
        gradient = 3 * params["embedding"]
        updates, state = rule.update({"embedding": gradient}, state, params)
        params = optax.apply_updates(params, updates)
        squares = 0.95 * squares + 0.05 * (3 * x) ** 2
        step = np.sqrt(moved + 1e-6) / np.sqrt(squares + 1e-6) * 3 * x
        moved = 0.95 * moved + 0.05 * step**2
        x = x - step
        np.testing.assert_allclose(params["embedding"], x, rtol=1e-5)


def test_adadelta_is_torchs():
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    theirs = torch.optim.Adadelta([x], lr=1.0, rho=0.95, eps=1e-6)
    params = {"embedding": jnp.asarray(x.detach().numpy())}
    rule = transformation(Adadelta(), lambda step: 1.0, params)
    state = rule.init(params)
    for _ in range(20):
        theirs.zero_grad()
        (1.5 * x**2).sum().backward()
        theirs.step()
        updates, state = rule.update(optax.tree.scale(3.0, params), state, params)
        params = optax.apply_updates(params, updates)
        found = np.asarray(params["embedding"])
        np.testing.assert_allclose(found, x.detach().numpy(), rtol=1e-5)


def test_rates_leave_decay_as_it_is_unless_they_are_asked_not_to():
    """mup's own MuAdamW keeps learning rate x decay; PyTorch's groups multiply."""
    shrinking = AdamW(weight_decay=0.5, rates=(("block", 0.1), (".*", 1.0)))
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)

    def shrunk(optimizer):
        rule = ours(optimizer)
        updates, _ = rule.update(zeros, rule.init(PARAMS), PARAMS)
        return -updates["block_0"]["kernel"][0, 1] / PARAMS["block_0"]["kernel"][0, 1]

    assert shrunk(shrinking) == pytest.approx(0.01 * 0.5)
    rated = replace(shrinking, rated_decay=True)
    assert shrunk(rated) == pytest.approx(0.01 * 0.5 * 0.1)


def test_weights_are_drawn_to_where_they_began():
    """A step after the gradients end: what moved goes back by rate x weight."""
    optimizer = SGD(momentum=0.0, clip=None, towards_initial=0.5)
    rule = ours(optimizer, lambda step: 0.1)
    state = rule.init(PARAMS)
    updates, state = rule.update(jax.tree.map(jnp.zeros_like, PARAMS), state, PARAMS)
    assert all(not leaf.any() for leaf in jax.tree.leaves(updates))
    moved = jax.tree.map(lambda leaf: leaf + 2.0, PARAMS)
    updates, _ = rule.update(jax.tree.map(jnp.zeros_like, PARAMS), state, moved)
    np.testing.assert_allclose(updates["embedding"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["block_0"]["scale"], 0.0)  # doesn't decay


def test_l1_takes_the_same_of_small_and_large_weights():
    rule = ours(SGD(momentum=0.0, clip=None, l1=0.5), lambda step: 0.1)
    params = PARAMS | {"embedding": jnp.array([[-3.0, 0.0, 1e-3]])}
    updates, _ = rule.update(
        jax.tree.map(jnp.zeros_like, params), rule.init(params), params
    )
    expected = [[0.05, 0.0, -0.05]]
    np.testing.assert_allclose(updates["embedding"], expected, rtol=1e-6)
    np.testing.assert_array_equal(updates["block_0"]["scale"], 0.0)


@pytest.mark.parametrize("scanned", [False, True])
def test_what_a_matrix_gives_to_an_output_stays_within_its_norm(scanned):
    """As torch's own renorm has it, which Kim's readers call after each step."""
    bound = ((r"kernel$", 1.5), (".*", None))
    params = {"block_0": PARAMS["block_0"], "block_1": PARAMS["block_0"]}
    gradient = jax.tree.map(lambda leaf: -30 * leaf, params)
    if scanned:
        params, gradient = stack_blocks(params), stack_blocks(gradient)
    optimizer = SGD(momentum=0.0, clip=None, max_norms=bound)
    rule = transformation(optimizer, lambda step: 0.01, params)
    # A plateau's scale is of the step, and not of what the norm takes back.
    twice = jax.tree.map(lambda leaf: 2 * leaf, gradient)
    updates, _ = rule.update(twice, rule.init(params), params, scale=0.5)
    new = optax.apply_updates(params, updates)
    new = unstack_blocks(new) if scanned else new
    free = np.asarray(1.3 * PARAMS["block_0"]["kernel"])
    lengths = np.linalg.norm(free, axis=0)
    assert (lengths > 1.5).any() and (lengths < 1.5).any()
    expected = free * np.minimum(1, 1.5 / lengths)
    np.testing.assert_allclose(new["block_1"]["kernel"], expected, rtol=1e-5)
    np.testing.assert_allclose(new["block_0"]["scale"], 1.3, rtol=1e-6)


def test_a_norm_of_what_is_no_matrix_is_refused():
    with pytest.raises(UserError, match="'block_0/scale', which is no matrix"):
        ours(SGD(max_norms=(("scale", 1.0), (".*", None))))
    with pytest.raises(UserError, match="'kernel' a norm of 0"):
        SGD(max_norms=(("kernel", 0.0), (".*", None)))


@pytest.mark.parametrize("field", ["decays", "rates", "max_norms"])
def test_an_expression_of_the_users_own_that_matches_nothing_is_refused(field):
    value = {"decays": True, "rates": 0.5, "max_norms": 2.0}[field]
    misspelt = {field: (("embeding", value), (".*", value))}
    with pytest.raises(UserError, match=f"'embeding' in optimizer.{field} matches no"):
        ours(AdamW(**misspelt))
    with pytest.raises(UserError, match="'kernels' in optimizer.hidden matches no"):
        hidden = (("kernels", True), *Muon().hidden)
        ours(Muon(hidden=hidden)).init(PARAMS)


def test_expressions_of_the_defaults_need_match_nothing():
    params = {"weight": jnp.ones(3)}
    transformation(AdamW(), lambda step: 0.1, params)
    ours(AdamW(decays=(("scale", True), *AdamW().decays)))
