"""Adapters: the base stays, what is merged is what was trained."""

import functools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.adapting import LoRA
from lm_jax.errors import UserError
from lm_jax.mesh import make_mesh
from lm_jax.models import MoE, Rotary, Transformer
from lm_jax.models.linear import Dense
from lm_jax.models.stack import initialise, stack_blocks, unstack_blocks
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD, AdamW, transformation
from lm_jax.selectors import parted, path_name
from lm_jax.sharding import Sharding, on_mesh, state_shardings, to_mesh
from lm_jax.training.state import first_state
from lm_jax.training.step import make_train_step
from tests.properties import slow_but

MODEL = Transformer(layers=2, heads=2, width=16, vocab_size=16, positions=Rotary())
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 16, (8, 7)), jnp.int32)
# Unlike Adam's, its updates are as near to each other as the gradients are.
PLAIN = SGD(momentum=0.9, clip=None)
# Layers that are called by themselves, so that a test can stand in their way.
PLACES = ("attention/query", "up")
ALONE = (("(attention/output|down)/kernel$", True), (".*", False))


def filled(shapes, seed):
    """Arrays of some shapes, of normal values."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes
    )


def shapes_of(model=MODEL):
    key = jax.random.key(0)
    return jax.eval_shape(lambda: initialise(model, key, TOKENS[:1]))


@functools.cache
def base(model=MODEL):
    return filled(shapes_of(model), 0)


def learnt(lora, params):
    """Other parameters, with adapters whose B is no longer zero."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: lora.added(params, key))
    return filled(shapes, 1)


def logits(params):
    return MODEL.apply({"params": params}, TOKENS)[0]


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-4, atol), a, b)


def test_before_the_first_step_the_model_is_its_base_bit_for_bit():
    params, lora = base(), LoRA(rank=2)
    grown = lora.added(params, jax.random.key(0))
    same(lora.seen(grown), params)
    added = by_path(grown).keys() - by_path(params).keys()
    assert added == {
        f"block_{i}/attention/{name}/kernel_lora/{part}"
        for i in range(2)
        for name in ("query", "value")
        for part in "ab"
    }


def test_what_a_model_sees_is_the_paper_s_sum():
    """x W + scale / rank * x A B, and its gradient (Hu et al. 2021, equation 3)."""
    lora = LoRA(ALONE, rank=2, scale=6.0)
    params = learnt(lora, base())

    def by_sum(params):
        def added(call, args, kwargs, context):
            out = call(*args, **kwargs)
            layer = context.module
            if not isinstance(layer, Dense) or context.method_name != "__call__":
                return out
            own = params
            for name in layer.path:
                own = own[name]
            if "kernel_lora" not in own:
                return out
            thin = own["kernel_lora"]
            return out + 6.0 / 2 * (args[0] @ thin["a"]) @ thin["b"]

        with nn.intercept_methods(added):
            return logits(params)

    def by_view(params):
        return logits(lora.seen(params))

    def with_gradient(function):
        def summed(params):
            found = function(params)
            return (found**2).sum(), found

        return jax.jit(jax.grad(summed, has_aux=True))(params)

    ours, found = with_gradient(by_view)
    close((ours, found), with_gradient(by_sum), 1e-3)
    assert np.abs(found - jax.jit(logits)(params)).max() > 0.1
    assert all((array != 0).any() for array in by_path(ours).values())


def test_the_adapter_of_a_tied_embedding_stands_at_both_ends():
    """Tokens that are not read have a gradient; those of an untied have none."""
    lora = LoRA((("^embedding$", True), (".*", False)), rank=2)
    tokens = jnp.minimum(TOKENS, 7)

    def gradient(model):
        def loss(params):
            return (model.apply({"params": lora.seen(params)}, tokens)[0] ** 2).sum()

        return jax.jit(jax.grad(loss))(learnt(lora, base(model)))["embedding_lora"]["a"]

    assert (gradient(MODEL)[8:] != 0).all()
    untied = gradient(MODEL.clone(tied=False))
    assert (untied[8:] == 0).all() and (untied[:8] != 0).any()


def test_scanned_layers_and_stacked_experts_are_adapted_as_each_by_itself():
    model = MODEL.clone(feedforward=MoE(experts=3, k=2))
    lora = LoRA((("(query|up)/kernel$", True), (".*", False)), rank=2)
    params = learnt(lora, base(model))
    seen = lora.seen(params)
    same(unstack_blocks(lora.seen(stack_blocks(params))), seen)
    up = params["block_0"]["up"]
    for expert in range(3):
        thin = {name: array[expert] for name, array in up["kernel_lora"].items()}
        change = lora.scale / 2 * thin["a"] @ thin["b"]
        merged = seen["block_0"]["up"]["kernel"][expert]
        np.testing.assert_allclose(merged, up["kernel"][expert] + change, atol=1e-6)


def test_rows_of_a_are_dropped_whole_and_the_others_scaled():
    """Each layer, expert and step its own; scanned or not the same; nothing later."""
    model = MODEL.clone(feedforward=MoE(experts=3, k=2))
    chosen = (("(query|up)/kernel$", True), (".*", False))
    lora, plain = LoRA(chosen, rank=2, dropout=0.25), LoRA(chosen, rank=2)
    params, key = learnt(lora, base(model)), jax.random.key(5)
    same(lora.seen(params), plain.seen(params))
    seen = by_path(lora.seen(params, key))
    close(by_path(unstack_blocks(lora.seen(stack_blocks(params), key))), seen)
    before, whole, masks = by_path(params), by_path(plain.seen(params)), []
    for path in (f"block_{i}/{name}/kernel" for i in (0, 1) for name in PLACES):
        change, once = seen[path] - before[path], whole[path] - before[path]
        rows = (change != 0).any(-1, keepdims=True)
        np.testing.assert_allclose(change, rows * once * 4 / 3, atol=1e-5)
        masks += list(rows.reshape(-1, 16))
    assert len({mask.tobytes() for mask in masks}) == len(masks) == 8
    assert 0.6 < np.mean(masks) < 0.9
    again = by_path(lora.seen(params, jax.random.key(6)))
    assert any((again[path] != seen[path]).any() for path in seen)


def test_one_adapter_s_first_values_depend_on_no_other():
    few, more = LoRA(rank=2), LoRA(((".*kernel$", True), (".*", False)), rank=2)
    params = base()
    a, b = (by_path(each.added(params, jax.random.key(3))) for each in (few, more))
    for path, array in a.items():
        np.testing.assert_array_equal(array, b[path])
    drawn = [array for path, array in b.items() if path.endswith("query/kernel_lora/a")]
    assert len(drawn) == 2 and (drawn[0] != drawn[1]).all()
    assert 0.5 < np.std(np.concatenate(drawn)) * 4 < 1.5


def batch():
    return {"inputs": TOKENS[:, :-1], "targets": TOKENS[:, 1:]}


def stepping(lora, params, optimizer, **options):
    frozen = lora.frozen(params)
    trained = parted(params, frozen)[1]
    rule = transformation(optimizer, lambda step: 0.01, trained)
    step = make_train_step(
        MODEL,
        NextToken(),
        rule,
        lambda step: 0.01,
        seed=1,
        frozen=frozen,
        view=lora.seen,
        **options,
    )
    return step, first_state(params, rule, trained=trained)


def trained(lora, optimizer, steps=5, **options):
    first = lora.added(base(), jax.random.key(1))
    step, state = stepping(lora, first, optimizer, **options)
    step, losses = jax.jit(step), []
    for _ in range(steps):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.parametrize("whole", slow_but([(), ("^norm/",)], ("^norm/",)))
def test_only_adapters_are_trained_and_what_is_named_beside_them(whole):
    """By steps of AdamW that decays: the base is what it was, bit for bit."""
    lora = LoRA(rank=2, whole=whole)
    state, losses = trained(lora, AdamW(weight_decay=0.1))
    assert losses[-1] < losses[0]
    before, after = (
        by_path(lora.added(base(), jax.random.key(1))),
        by_path(state.params),
    )
    moved = {path for path in after if (after[path] != before[path]).any()}
    wanted = {path for path in after if "_lora/" in path}
    assert moved == wanted | ({"norm/scale"} if whole else set())
    stated = {"/".join(path.split("/")[-4:]) for path in by_path(state.opt_state)}
    assert not any(path.endswith("query/kernel") for path in stated)
    assert any(path.endswith("kernel_lora/a") for path in stated)


@pytest.mark.slow
def test_in_parts_and_on_several_devices_adapters_learn_the_same():
    lora = LoRA((("kernel$|embedding$", True), (".*", False)), rank=2, dropout=0.3)
    state, losses = trained(lora, PLAIN, 3)
    assert losses[1:] != trained(replace(lora, dropout=0.0), PLAIN, 3)[1][1:]
    parts, lost = trained(lora, PLAIN, 3, accumulate=2)
    close((parts.params, lost), (state.params, losses))

    sharding = Sharding(fsdp=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices()[:4])
    step, first = stepping(lora, lora.added(base(), jax.random.key(1)), PLAIN)
    places = state_shardings(sharding, mesh, first)
    step = jax.jit(on_mesh(step, sharding, mesh), out_shardings=(places, None))
    spread = jax.device_put(first, places)
    for _ in range(3):
        spread, _ = step(spread, to_mesh(batch(), mesh))
    close(jax.device_get(spread.params), state.params)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (
            LoRA((("atention/query", True), (".*", False))),
            "'atention/query' in adapter",
        ),
        (LoRA(((".*", False),)), "chooses no matrix"),
        (LoRA((("query", True),)), "No expression of adapter.matrices matches"),
        (LoRA((("^norm/", True), (".*", False))), "'norm/scale', which is no matrix"),
        (LoRA(rank=16), "'block_0/attention/query/kernel' is 16 x 16"),
        (LoRA(rank=2, whole=("lm_hed",)), "'lm_hed' in adapter.whole matches no"),
        (LoRA(rank=2, whole=("(",)), "'(' in adapter.whole is not a regular"),
    ],
)
@pytest.mark.parametrize("scan", [False, True])
def test_what_can_not_be_adapted_is_refused(lora, said, scan):
    key, shapes = jax.random.key(0), shapes_of()
    shapes = jax.eval_shape(stack_blocks, shapes) if scan else shapes
    if scan:
        said = said.replace("block_0", "blocks")

    def grown():
        return lora.frozen(lora.added(shapes, key))

    with pytest.raises(UserError) as refused:
        jax.eval_shape(grown)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("field", "number"), [("rank", 0), ("scale", 0.0), ("dropout", 1.0)]
)
def test_numbers_that_adapt_nothing_are_refused(field, number):
    with pytest.raises(UserError, match=f"adapter.{field}"):
        LoRA(**{field: number})
