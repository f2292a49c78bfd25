"""Which form attends: what was asked for, what the platform has, what can't be had."""

import functools
import warnings

import jax
import jax.numpy as jnp
import pytest

from lm_jax.kernels import attention_forms, attention_gpu
from lm_jax.kernels.attention import Sight, attend
from lm_jax.kernels.attention_blocks import attend_long
from lm_jax.kernels.attention_forms import KERNELS, form_of, form_problem
from lm_jax.kernels.attention_gpu import attend_cudnn
from lm_jax.mesh import make_mesh
from lm_jax.models import (
    ALiBi,
    Alternating,
    BlockLocal,
    Full,
    Rotary,
    SlidingWindow,
    Transformer,
)
from lm_jax.sharding import Sharding, on_mesh
from tests.kernels.test_attention import all_of, check, inputs

CAUSAL = Sight(True, None, None)
ADDED = jnp.zeros((1, 2, 128, 128))
PACKED_SIGHT = CAUSAL._replace(segments=jnp.arange(2 * 40).reshape(2, 40) // 9)


@pytest.fixture
def on(monkeypatch):
    """Stand on a platform, nothing said yet."""

    def stand(name):
        monkeypatch.setattr(attention_forms, "platform", lambda: name)
        attention_forms._say.cache_clear()

    return stand


def arrays(time=128, dim=64, dtype="bfloat16"):
    query = jnp.zeros((1, 2, time, dim), dtype)
    return query, query


@pytest.mark.parametrize(
    "platform, form", [("tpu", "splash"), ("gpu", "cudnn"), ("cpu", None)]
)
def test_the_platform_of_the_mesh_decides(on, platform, form):
    on(platform)
    found = form_of("auto", *arrays(), CAUSAL, None)
    assert found is (KERNELS[form].attend if form else None)
    assert form_of("plain", *arrays(), CAUSAL, None) is None
    assert form_of("blocks", *arrays(), CAUSAL, None) is attend_long


@pytest.mark.parametrize(
    "platform, more, words",
    [
        ("tpu", {"time": 100}, "128 doesn't divide a context of 100 tokens"),
        ("gpu", {"dim": 100}, "they are 100 wide"),
        ("gpu", {"dtype": "float32"}, "bfloat16, and dtype is float32"),
        ("gpu", {"softcap": 2.0}, "softcap"),
        ("gpu", {"sight": PACKED_SIGHT, "time": 101}, "an even context, not of 101"),
        ("tpu", {"bias": ADDED}, "positions that add to the scores"),
        ("gpu", {"bias": jnp.zeros((2, 2, 128, 128))}, "and these differ"),
        ("gpu", {"bias": ADDED, "time": 101}, "an even context, not of 101"),
        ("tpu", {"kept": 1}, "dropout of attention's weights"),
    ],
)
def test_what_a_kernel_lacks_is_said_once_or_refused(on, platform, more, words):
    on(platform)
    sight, softcap = more.pop("sight", CAUSAL), more.pop("softcap", None)
    rest = {name: more.pop(name) for name in ("bias", "kept") if name in more}
    asked = *arrays(**more), sight, softcap
    with pytest.warns(UserWarning, match=f"{words}.*: attention takes its plain form"):
        assert form_of("auto", *asked, **rest) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert form_of("auto", *asked, **rest) is None
    name = {"tpu": "splash", "gpu": "cudnn"}[platform]
    with pytest.raises(ValueError, match=f"'{name}' can't be had: .*{words}"):
        form_of(name, *asked, **rest)


def test_a_long_context_goes_by_blocks_where_the_kernel_can_not(on):
    on("gpu")
    long = arrays(4096, dtype="float32")
    with pytest.warns(UserWarning, match="takes blocks of queries instead of cudnn"):
        assert form_of("auto", *long, CAUSAL, None) is attend_long
    packed = PACKED_SIGHT, None  # a mask of 4 GiB is the largest
    assert form_of("auto", *arrays(46_340), *packed) is attend_cudnn
    with pytest.warns(UserWarning, match="take 1 masks of 46342 x 46342"):
        assert form_of("auto", *arrays(46_342), *packed) is attend_long
    for here in ("cpu", None):
        on(here)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert form_of("auto", *long, CAUSAL, None) is attend_long
            assert form_of("auto", *long, CAUSAL, None, ADDED) is attend_long
        with pytest.warns(UserWarning, match="takes its plain form instead of blocks"):
            assert form_of("auto", *long, CAUSAL, None, kept=1) is None


def test_a_kernel_of_other_machines_is_a_problem():
    assert "for the platform tpu, and the devices are of cpu" in form_problem(
        "splash", "cpu"
    )
    assert "platform gpu" in form_problem("cudnn", "tpu")
    for form, here in (("auto", "cpu"), ("blocks", "tpu"), ("cudnn", "gpu")):
        assert form_problem(form, here) is None


@pytest.fixture
def stand_in(monkeypatch):
    """jax's own attention where cuDNN would attend."""
    plain_of_jax = jax.nn.dot_product_attention
    monkeypatch.setattr(
        attention_gpu.jax.nn,
        "dot_product_attention",
        lambda *a, **k: plain_of_jax(*a, **k | {"implementation": "xla"}),
    )


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("added", [False, True], ids=["", "bias"])
@pytest.mark.parametrize(
    "sight",
    [
        CAUSAL,
        Sight(True, 30, None),
        Sight(False, None, None),
        Sight(False, 9, None),
        PACKED_SIGHT,
        PACKED_SIGHT._replace(window=7),
    ],
)
def test_cudnn_is_asked_for_what_the_plain_form_does(sight, added):
    mask = sight.mask(jnp.arange(40), jnp.arange(40))
    given = inputs(2, 4, 2, 40, 40, dim=8)
    bias = jax.random.normal(jax.random.key(3), (1, 4, 40, 40)) if added else None
    found = all_of(lambda *a: attend_cudnn(*a, sight, 0.3, bias=bias), *given)
    plain = all_of(lambda *a: attend(*a, mask, scale=0.3, bias=bias), *given)
    check(found, plain, 1e-5)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("form", [attend_cudnn, attend_long])
def test_what_is_added_has_its_gradient_however_rows_and_heads_are_split(form):
    query, _, key, value = inputs(4, 4, 2, 40, 40, dim=8)
    bias = jax.random.normal(jax.random.key(3), (1, 4, 40, 40))
    mask = CAUSAL.mask(jnp.arange(40), jnp.arange(40))

    def of_bias(function):
        return lambda q, b: jnp.square(function(q, key, value, bias=b)).sum()

    def found(q, b):
        attended = functools.partial(form, sight=CAUSAL, scale=0.3)
        return jax.grad(of_bias(attended), (0, 1))(q, b)

    sharding = Sharding(fsdp=2, tensor=2)
    mesh = make_mesh(sharding, jax.devices()[:4])
    split = jax.jit(on_mesh(found, sharding, mesh))(query, bias)
    plain = functools.partial(attend, mask=mask, scale=0.3)
    check(split, jax.grad(of_bias(plain), (0, 1))(query, bias), 1e-5)


PACKED = (jnp.floor_divide, jnp.remainder)  # by the length of a text


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize(
    "pattern", [Full(), SlidingWindow(5), BlockLocal(6), Alternating(5)], ids=str
)
def test_every_pattern_is_alike_without_weights(pattern, scan):
    """Packed texts too, whose positions begin anew; of layers of two kinds in a scan,
    each goes its own way."""
    model = Transformer(
        layers=2,
        heads=2,
        width=8,
        vocab_size=11,
        positions=Rotary(),
        attention=pattern,
        softcap=3.0,
        scan=scan,
    )
    tokens = jax.random.randint(jax.random.key(0), (2, 24), 0, 11)
    segments, positions = (f(jnp.arange(48).reshape(2, 24), 9) for f in PACKED)
    params = model.clone(attention_form="plain").init(jax.random.key(1), tokens)
    mesh = make_mesh(Sharding(), jax.devices()[:1])

    def with_gradients(form):
        def loss(params):
            used = model.clone(attention_form=form)
            out, _ = used.apply(params, tokens, positions=positions, segments=segments)
            return jnp.square(out).sum()

        return jax.jit(on_mesh(jax.value_and_grad(loss), Sharding(), mesh))(params)

    found, expected = map(with_gradients, ("blocks", "plain"))
    check(jax.tree.leaves(found), jax.tree.leaves(expected), 1e-5)


def test_a_form_that_positions_rule_out_is_refused(on):
    on("tpu")
    model = Transformer(
        layers=1,
        heads=1,
        width=64,
        vocab_size=8,
        positions=ALiBi(),
        attention_form="splash",
    )
    tokens = jnp.zeros((1, 128), jnp.int32)
    with pytest.raises(ValueError, match="add to the scores"):
        jax.eval_shape(model.init, jax.random.key(0), tokens)
