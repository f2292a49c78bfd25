"""Properties of the decoder: causality, cache, scan, segments, dropout."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.bounds import all_problems
from lm_jax.models import (
    MLP,
    ALiBi,
    Alternating,
    Gated,
    GatedLinear,
    Learned,
    LinearScaling,
    MoE,
    MuP,
    NoPositions,
    Relative,
    Rotary,
    Sinusoidal,
    SlidingWindow,
    Transformer,
)
from lm_jax.models.dropout import dropout, example_keys
from lm_jax.models.stack import initialise, stack_blocks, unstack_blocks
from tests.first import first_params
from tests.properties import slow_but

VOCAB, TIME = 17, 12

SMALL = Transformer(
    layers=2, heads=4, width=16, vocab_size=VOCAB, positions=Learned(TIME)
)
EXPERTS = MoE(
    4, 2, ratio=1.0, gated=True, normalised=False, shared=1, shared_router=True
)
# Each choice stands in one of them.
LLAMA = SMALL.clone(
    positions=Rotary(), norm="rms", feedforward=Gated(), kv_heads=2, tied=False
)
CHOICES = {
    "gpt": SMALL.clone(use_bias=True),
    "llama": LLAMA,
    "sinusoidal": SMALL.clone(
        positions=Sinusoidal(), kv_heads=1, feedforward=MLP(activation="relu")
    ),
    "scanned": LLAMA.clone(scan=True, positions=NoPositions()),
    "gemma": LLAMA.clone(
        norm_at="both",
        qk_norm="head",
        attention=Alternating(window=4),
        positions=Rotary(
            1000.0, fraction=0.5, scaling=LinearScaling(2.0), local_base=10.0
        ),
        softcap=2.0,
        logit_softcap=20.0,
        feedforward=Gated(activation="gelu"),
    ),
    "relative": SMALL.clone(
        positions=Relative(8, 10),
        norm="none",
        parallel=True,
        feedforward=MLP(activation="relu2"),
    ),
    "alibi": SMALL.clone(positions=ALiBi(), norm_at="post", feedforward=EXPERTS),
    "linear": SMALL.clone(
        mixer=GatedLinear(chunk=5),
        positions=NoPositions(),
        initial=MuP(base_width=8, base_dim=2),
    ),
}


def tokens(rows=2, time=TIME, seed=0):
    return jax.random.randint(jax.random.key(seed), (rows, time), 0, VOCAB)


def parameters(model, seed=0):
    params = first_params(model, seed, tokens())
    # Larger values than the initial ones, so that every path has an effect.
    return jax.tree.map(lambda p: p if (p == 1).all() else p * 10, params)


@partial(jax.jit, static_argnums=0)
def logits(model, params, inputs, **kwargs):
    return model.apply({"params": params}, inputs, **kwargs)[0]


@pytest.mark.parametrize("name", slow_but(CHOICES, "llama"))
def test_causal_by_gradients(name):
    """No logit depends on the embedding of a later token; each on its own."""
    model = CHOICES[name]
    params, inputs = parameters(model), tokens(1)
    width = model.width

    def shifted(noise):
        # Position-wise noise on the embedding, through one more token row.
        table = jnp.concatenate([params["embedding"], noise], axis=0)
        big = model.clone(vocab_size=VOCAB + TIME)
        changed = {**params, "embedding": table}
        if not model.tied:
            kernel = jnp.pad(params["lm_head"]["kernel"], ((0, 0), (0, TIME)))
            changed["lm_head"] = {"kernel": kernel}
        ids = VOCAB + jnp.arange(TIME)[None]
        return logits(big, changed, ids)[0, :, :VOCAB].sum(-1)

    start = params["embedding"][inputs[0]]
    jacobian = jax.jit(jax.jacobian(shifted))(start)
    assert jacobian.shape == (TIME, TIME, width)
    reach = np.asarray(jnp.abs(jacobian).max(-1))
    assert (reach[np.triu_indices(TIME, 1)] == 0).all()
    assert (reach[np.tril_indices(TIME)] > 0).all()


@pytest.mark.parametrize("name", slow_but(CHOICES, "llama"))
def test_cache_equals_whole_text(name):
    """Reading in pieces, with a cache, gives the logits of reading at once."""
    model = CHOICES[name]
    params, inputs = parameters(model), tokens()
    cache = model.empty_cache(2, TIME + 3)
    parts = []
    read = jax.jit(model.apply)
    for start in range(0, TIME, 3):
        positions = jnp.broadcast_to(jnp.arange(start, start + 3), (2, 3))
        out, cache = read(
            {"params": params},
            inputs[:, start : start + 3],
            positions=positions,
            cache=cache,
        )
        parts.append(out)
    whole = logits(model, params, inputs)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gemma", "linear"])
def test_scanned_equals_unrolled(name):
    """The same initial values, logits and gradients, with dropout on."""
    unrolled = CHOICES[name].clone(scan=False, dropout=0.2)
    scanned = unrolled.clone(scan=True)
    noise = example_keys(jax.random.key(3), jnp.arange(2))
    a, b = parameters(unrolled), parameters(scanned)
    jax.tree.map(np.testing.assert_array_equal, stack_blocks(a), b)
    jax.tree.map(np.testing.assert_array_equal, unstack_blocks(b), a)

    def loss(params, model):
        return jnp.square(logits(model, params, tokens(), dropout_keys=noise)).sum()

    both = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    value_a, grad_a = both(a, unrolled)
    value_b, grad_b = both(b, scanned)
    np.testing.assert_allclose(value_a, value_b, rtol=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3),
        stack_blocks(grad_a),
        grad_b,
    )


@pytest.mark.slow
def test_initial_values_depend_on_path_and_shape_alone():
    """Changing one choice moves no other parameter's initial value."""
    start = jax.jit(initialise, static_argnums=0)
    base = start(SMALL, jax.random.key(0), tokens())
    changes = {
        "layers": SMALL.clone(layers=3),
        "norm": SMALL.clone(norm="rms"),
        "feedforward": SMALL.clone(feedforward=Gated()),
        "biases": SMALL.clone(use_bias=True),
        "positions": SMALL.clone(positions=Rotary()),
        "untied": SMALL.clone(tied=False),
        "time": SMALL,
    }
    for name, model in changes.items():
        time = 5 if name == "time" else TIME
        other = start(model, jax.random.key(0), tokens(3, time))
        flat, changed = (
            dict(jax.tree_util.tree_leaves_with_path(t)) for t in (base, other)
        )
        shared = [
            path
            for path in flat
            if path in changed and flat[path].shape == changed[path].shape
        ]
        assert len(shared) >= len(flat) // 2
        for path in shared:
            scale = 1.0
            # Writes into the residual stream are scaled by the depth.
            if name == "layers" and any(
                part in str(path) for part in ("output", "down")
            ):
                scale = (3 / 2) ** 0.5
            np.testing.assert_allclose(
                flat[path], changed[path] * scale, rtol=1e-5, err_msg=f"{name} {path}"
            )


def test_initial_values_differ_between_parameters_and_seeds():
    leaves = [
        leaf
        for seed in (0, 1)
        for leaf in jax.tree.leaves(initialise(SMALL, jax.random.key(seed), tokens()))
        if leaf.ndim > 1
    ]
    firsts = [float(leaf.reshape(-1)[0]) for leaf in leaves]
    assert len(set(firsts)) == len(firsts)


def test_segments_do_not_see_each_other():
    """Two documents in a row give the logits that each gives alone."""
    model = SMALL
    params, inputs = parameters(model), tokens(1)
    segments = jnp.asarray([[1] * 5 + [2] * (TIME - 5)])
    positions = jnp.asarray([[*range(5), *range(TIME - 5)]])
    packed = logits(model, params, inputs, segments=segments, positions=positions)
    first, second = (
        logits(model, params, inputs[:, :5]),
        logits(model, params, inputs[:, 5:]),
    )
    np.testing.assert_allclose(packed[:, :5], first, atol=1e-5)
    np.testing.assert_allclose(packed[:, 5:], second, atol=1e-5)


def test_grouped_heads_equal_repeated_heads():
    """A key head shared by a group is that head, copied to each of the group."""
    grouped = SMALL.clone(kv_heads=2)
    params = parameters(grouped)
    full = jax.tree.map(lambda x: x, params)
    for block in ("block_0", "block_1"):
        for name in ("key", "value"):
            kernel = params[block]["attention"][name]["kernel"].reshape(16, 2, 1, 4)
            repeated = jnp.repeat(kernel, 2, axis=2).reshape(16, 16)
            full[block]["attention"][name] = {"kernel": repeated}
    a = logits(grouped, params, tokens())
    np.testing.assert_allclose(a, logits(SMALL, full, tokens()), atol=1e-5)


def test_rotary_sees_only_distances():
    model = SMALL.clone(positions=Rotary())
    params, inputs = parameters(model), tokens()
    here = logits(model, params, inputs)
    positions = jnp.broadcast_to(jnp.arange(100, 100 + TIME), (2, TIME))
    np.testing.assert_allclose(
        here, logits(model, params, inputs, positions=positions), atol=1e-3
    )


def test_bfloat16_is_near_float32_with_float32_parameters():
    half = SMALL.clone(dtype="bfloat16")
    params = parameters(half)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    a, b = (logits(m, params, tokens()) for m in (SMALL, half))
    assert b.dtype == jnp.float32
    assert 0 < jnp.abs(a - b).max() < 0.03 * jnp.abs(a).max()


@pytest.mark.slow
def test_dropout_belongs_to_the_row():
    """A row's zeros don't depend on which rows stand beside it."""
    x = jnp.ones((6, 50, 8))
    keys = example_keys(jax.random.key(0), jnp.arange(6))
    whole = dropout(x, 0.3, keys, "a")
    np.testing.assert_array_equal(whole[4:], dropout(x[4:], 0.3, keys[4:], "a"))
    assert abs(float((whole == 0).mean()) - 0.3) < 0.03
    np.testing.assert_allclose(whole.mean(), 1.0, atol=0.04)
    assert (whole != dropout(x, 0.3, keys, "b")).any()
    assert (whole[0] != whole[1]).any()
    np.testing.assert_array_equal(dropout(x, 0.3, None, "a"), x)


def test_parameter_count_is_nanogpts():
    """The CPU recipe: 0.80M parameters without the position table."""
    model = Transformer(
        layers=4, heads=4, width=128, vocab_size=65, positions=Learned(64)
    )
    shapes = jax.eval_shape(lambda: initialise(model, jax.random.key(0), tokens()))
    count = sum(p.size for p in jax.tree.leaves(shapes))
    assert count - 64 * 128 == 795_904


@pytest.mark.slow
def test_flops_count_the_compiled_products():
    """The formula against XLA's own count of a forward pass, attention whole."""
    model = SMALL.clone(width=64, layers=3, positions=Rotary())
    inputs = tokens(2, 64)
    params = initialise(model, jax.random.key(0), inputs)
    lowered = jax.jit(lambda p, t: logits(model, p, t)).lower(params, inputs)
    counted = lowered.compile().cost_analysis()
    counted = counted[0] if isinstance(counted, list) else counted
    whole_attention = 6 * model.layers * model.width * 64
    expected = (model.flops_per_token(64) + whole_attention) / 3 * inputs.size
    assert expected == pytest.approx(counted["flops"], rel=0.15)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "nearest that does: 2"),
        ({"kv_heads": 3}, "kv_heads=3"),
        ({"positions": Rotary(), "heads": 16}, "even"),
        ({"dropout": 1.0}, "dropout"),
        ({"layers": 0}, "model.layers=0: give a whole number, 1 to"),
        ({"feedforward": MLP(ratio=0.0)}, "ratio=0.0"),
        ({"feedforward": MoE(experts=2, k=3)}, "k=3"),
        ({"feedforward": MoE(shared=-1)}, "shared=-1"),
        ({"feedforward": MoE(shared_router=True)}, "shared=0"),
        ({"attention": SlidingWindow(0)}, "window=0"),
        ({"attention": Alternating(4, 0)}, "every=0"),
        ({"softcap": 0.0}, "model.softcap=0.0"),
        ({"logit_softcap": -1.0}, "logit_softcap=-1.0"),
        ({"positions": Relative(5)}, "buckets=5"),
        ({"positions": Relative(32, 16)}, "distance=16"),
        ({"initial": MuP(base_width=0)}, "base_width"),
        ({"mixer": GatedLinear(), "positions": ALiBi()}, "positions=ALiBi()"),
        ({"mixer": GatedLinear(), "softcap": 5.0}, "softcap=5.0"),
        ({"mixer": GatedLinear(), "kv_heads": 2}, "kv_heads=2"),
        ({"mixer": GatedLinear(chunk=0)}, "chunk"),
        ({"mixer": GatedLinear(), "attention": SlidingWindow(4)}, "SlidingWindow"),
    ],
)
def test_problems_are_named(change, words):
    assert not list(SMALL.problems())
    (problem,) = all_problems(SMALL.clone(**change), "model")
    assert words in problem


def test_unknown_names_are_named():
    """Of an experiment file, where no type is checked."""
    wrong, bent = SMALL.config, MLP()
    object.__setattr__(bent, "activation", "tanh")
    for name, value in (("norm", "batch"), ("norm_at", "mid"), ("feedforward", bent)):
        object.__setattr__(wrong, name, value)
    words = ["norm='batch' is none of 'layer'", "norm_at='mid'", "activation='tanh'"]
    for problem, word in zip(wrong.problems(), words, strict=True):
        assert word in problem


def test_choices_are_values():
    assert replace(MLP(), ratio=2.0) == MLP(ratio=2.0)
    assert SMALL.clone() == SMALL


def test_only_a_state_of_constant_size_is_recurrent():
    linear = SMALL.clone(mixer=GatedLinear(), positions=NoPositions())
    assert linear.recurrent and not SMALL.recurrent
    assert not linear.clone(positions=Learned(4)).recurrent
    few, many = (linear.empty_cache(3, slots) for slots in (1, 100))
    assert jax.tree.map(jnp.shape, few) == jax.tree.map(jnp.shape, many)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(few)} == {3}


@pytest.mark.slow
def test_features_are_those_that_the_logits_are_made_of():
    params = parameters(SMALL)
    run = jax.jit(SMALL.apply)
    logits, _ = run({"params": params}, tokens())
    features, _ = SMALL.apply({"params": params}, tokens(), method="features")
    np.testing.assert_allclose(features @ params["embedding"].T, logits, atol=1e-4)


def test_logits_stay_within_their_cap():
    params = parameters(SMALL)
    free = logits(SMALL, params, tokens())
    held = logits(SMALL.clone(logit_softcap=2.0), params, tokens())
    assert jnp.abs(free).max() > 2 > jnp.abs(held).max()
    np.testing.assert_allclose(held, 2 * jnp.tanh(free / 2), atol=1e-6)


@pytest.mark.slow
def test_norms_of_queries_and_keys_bound_the_scores():
    """However large the projections, nothing changes: only directions count."""
    model = SMALL.clone(qk_norm="head")
    params = parameters(model)

    def scaled(model):
        def times(path, p):
            name = jax.tree_util.keystr(path)
            return p * 50 if "'query'" in name or "'key'" in name else p

        larger = jax.tree_util.tree_map_with_path(times, params)
        return jnp.abs(
            logits(model, params, tokens()) - logits(model, larger, tokens())
        ).max()

    assert scaled(model) < 1e-3 < 1e-1 < scaled(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "gemma", "relative", "alibi", "scanned"])
def test_texts_side_by_side_in_a_cache_are_those_alone(name):
    """Two texts in one row's slots, out of order, told apart by their segments."""
    model = CHOICES[name]
    params, (one, two) = parameters(model), tokens()
    both = jnp.concatenate([one[:5], two[:6]])[None]
    positions = jnp.concatenate([jnp.arange(5), jnp.arange(6)])[None]
    segments = jnp.asarray([[1] * 5 + [2] * 6])
    slots = jnp.asarray([[*range(7, 12), 3, 0, 1, 14, 4, 2]])
    run = jax.jit(model.apply)
    cache = model.empty_cache(1, 16)
    found, cache = run(
        {"params": params}, both, positions, segments, cache, None, slots
    )
    alone = [logits(model, params, text[None]) for text in (one[:6], two[:7])]
    np.testing.assert_allclose(found[:, :5], alone[0][:, :5], atol=1e-4)
    np.testing.assert_allclose(found[:, 5:], alone[1][:, :6], atol=1e-4)
    # The next token of each; padding is written nowhere.
    more = jnp.asarray([[one[5], two[6], 0]])
    where = jnp.asarray([[5, 6, 0]]), jnp.asarray([[1, 2, 0]])
    found, after = run(
        {"params": params}, more, *where, cache, None, jnp.asarray([[5, 6, 7]])
    )
    np.testing.assert_allclose(found[0, 0], alone[0][0, 5], atol=1e-4)
    np.testing.assert_allclose(found[0, 1], alone[1][0, 6], atol=1e-4)
    assert (after.segments == cache.segments.at[0, 5].set(1).at[0, 6].set(2)).all()


def test_both_ends_of_the_stack():
    """Scale and norm of the embedding; scale and bias of the logits."""
    ends = SMALL.clone(
        layers=1,
        positions=NoPositions(),
        embedding_scale=True,
        embedding_norm=True,
        logit_scale=0.5,
        logit_bias=True,
        norm_epsilon=0.1,
    )
    params = parameters(ends)
    params["embedding_norm"]["scale"] = jnp.linspace(0.5, 2.0, 16)
    params["lm_head_bias"] = jnp.arange(float(VOCAB))
    plain = SMALL.clone(layers=1, positions=NoPositions(), norm_epsilon=0.1)
    found = logits(ends, params, tokens())
    table = 4.0 * params["embedding"]
    table = table - table.mean(-1, keepdims=True)
    table = table / jnp.sqrt(jnp.square(table).mean(-1, keepdims=True) + 0.1)
    table = table * params["embedding_norm"]["scale"]
    apply = jax.jit(partial(plain.apply, method="features"))
    inner = {k: v for k, v in params.items() if k in ("block_0", "norm")}
    hidden, _ = apply({"params": inner | {"embedding": table}}, tokens())
    expected = 0.5 * hidden @ params["embedding"].T + params["lm_head_bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_biases_of_queries_keys_and_values_alone():
    model = SMALL.clone(norm="rms", qkv_bias=True)
    paths = jax.tree_util.tree_leaves_with_path(parameters(model)["block_0"])
    biases = {p[-2].key for p, _ in paths if p[-1].key == "bias"}
    assert biases == {"query", "key", "value"}


@pytest.mark.slow
def test_heads_have_a_width_of_their_own():
    model = SMALL.clone(head_dim=6, kv_heads=2, qk_norm="width")
    own = parameters(model)["block_0"]["attention"]
    assert own["query"]["kernel"].shape == own["output"]["kernel"].shape[::-1]
    assert own["query"]["kernel"].shape == (16, 24)
    assert own["query_norm"]["scale"].shape == (24,)
    assert own["key_norm"]["scale"].shape == (12,)
    hot = model.clone(attention_scale=0.0)  # each token sees all alike
    a, b = (logits(m, parameters(m), tokens()) for m in (model, hot))
    assert jnp.abs(a - b).max() > 1e-3
