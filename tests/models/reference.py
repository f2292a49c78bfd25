"""A model of transformers beside ours: same weights, same logits, same gradients.

A table says where each of our parameters comes from: by our path, the name of
theirs, perhaps with the part of it that is taken. "{i}" stands for each layer. What
lm_jax reads from files of theirs has a table already: its `Architecture`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from lm_jax.exchange.architecture import Architecture, shapes_of
from lm_jax.exchange.rows import fitting

torch = pytest.importorskip("torch")

Part = Callable[[np.ndarray], np.ndarray]
Table = dict[str, str | tuple[str, Part]] | Architecture


def dense(ours: str, theirs: str, part: Part | None = None, bias: bool = False):
    """The kernel of a layer, and its bias."""
    names = {"kernel": "weight", "bias": "bias"} if bias else {"kernel": "weight"}
    return {
        f"{ours}/{a}": f"{theirs}.{b}" if part is None else (f"{theirs}.{b}", part)
        for a, b in names.items()
    }


def norm(ours: str, theirs: str, bias: bool = False):
    """The scale of a norm, and its shift."""
    names = {"scale": "weight", "bias": "bias"} if bias else {"scale": "weight"}
    return {f"{ours}/{a}": f"{theirs}.{b}" for a, b in names.items()}


def third(index: int, heads: int = 1) -> Part:
    """Queries, keys or values of a layer that makes all, head by head or whole."""

    def take(x):
        x = x.reshape(heads, 3, -1, *x.shape[1:])[:, index]
        return x.reshape(-1, *x.shape[2:])

    return take


def half(index: int, axis: int = 0) -> Part:
    """One half of a gated layer."""
    return lambda x: np.split(x, 2, axis)[index]


def read(table: Architecture, model, arrays: dict, gradients: bool = False) -> dict:
    """Our parameters from theirs, or our gradients, as files of theirs are read."""
    found = {}
    for row in fitting(table.rows, shapes_of(model), model):
        given = [arrays[name] for name in row.theirs if name in arrays]
        if not given:  # what is there only in some files
            assert row.ours[0].startswith(table.optional)
            continue
        made = row.way.read(given, model)
        if gradients:
            nothing = row.way.read([np.zeros_like(x) for x in given], model)
            made = [x - y for x, y in zip(made, nothing, strict=True)]
        found |= dict(zip(row.ours, map(jnp.asarray, made), strict=True))
    return unflatten_dict(found, sep="/")


def copied(
    table: Table,
    model,
    layers: int,
    arrays: dict[str, np.ndarray],
    raised: float = 0.0,
    gradients: bool = False,
) -> dict:
    """Our parameters from theirs; norms that store scale - 1 are raised."""
    if isinstance(table, Architecture):
        return read(table, model, arrays, gradients)
    found = {}
    for ours, source in table.items():
        theirs, part = (source, None) if isinstance(source, str) else source
        for i in range(layers if "{i}" in ours else 1):
            x = arrays[theirs.format(i=i)]
            x = x if part is None else part(x)
            x = np.swapaxes(x, -1, -2) if ours.endswith("kernel") else x
            x = x + raised if ours.endswith("scale") else x
            found[ours.format(i=i)] = jnp.asarray(x)
    return unflatten_dict(found, sep="/")


def randomise(reference) -> None:
    """Give each parameter values that have an effect."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in reference.parameters():
            if p.ndim > 1:
                p.normal_(std=p.shape[-1] ** -0.5)
            else:
                p.add_(0.3 * torch.randn(p.shape))


def compare(
    reference,
    model,
    table: Table,
    theirs: Callable,
    ours: Callable,
    seen: np.ndarray,
    layers: int | None = None,
    raised: float = 0.0,
    apart: tuple[str, ...] = (),
    tolerance: float = 1e-5,
) -> None:
    """Check that ours has their parameters, outputs and gradients of each parameter.

    Args:
        reference: the model of transformers.
        model: ours.
        table: where our parameters come from.
        theirs: their model -> outputs.
        ours: our model, bound to parameters -> the same.
        seen: true where there is a token, and not padding: (batch, time).
        layers: most in any stack.
        raised: what norms add to their scale.
        apart: parameters of theirs that ours hasn't.
        tolerance: of outputs, over the largest entry; gradients have three times it.
    """
    randomise(reference.eval())
    values = {k: p.detach().numpy() for k, p in reference.named_parameters()}
    layers = layers or model.layers
    params = copied(table, model, layers, values, raised)
    made = jax.eval_shape(lambda: model.init(jax.random.key(0), method=ours))
    shapes = jax.tree.map(jnp.shape, made["params"])
    assert shapes == jax.tree.map(jnp.shape, params)
    expected = theirs(reference)
    rng = np.random.default_rng(0)
    masks = [seen.reshape(*seen.shape, *[1] * (x.ndim - 2)) for x in expected]
    masks = [m if x.ndim > 2 else 1.0 for m, x in zip(masks, expected, strict=True)]
    noise = [
        np.float32(rng.normal(size=x.shape) * m)
        for m, x in zip(masks, expected, strict=True)
    ]

    def loss(params):
        found = model.apply({"params": params}, method=ours)
        total = sum((a * b).sum() for a, b in zip(found, noise, strict=True))
        return total, found

    (_, found), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    for mask, x, y in zip(masks, found, expected, strict=True):
        near(x * mask, y.detach().numpy() * mask, tolerance)
    pairs = zip(expected, noise, strict=True)
    sum((x * torch.from_numpy(n)).sum() for x, n in pairs).backward()
    named = dict(reference.named_parameters())
    used = {k: p.grad.numpy() for k, p in named.items() if p.grad is not None}
    assert set(named) - set(used) <= set(apart), "theirs has more"
    wanted = flatten_dict(copied(table, model, layers, used, gradients=True), sep="/")
    gradient = flatten_dict(gradient, sep="/")
    assert set(wanted) == set(gradient)
    largest = max(np.abs(x).max() for x in wanted.values())
    for path, x in wanted.items():
        # The bias of keys has no gradient but by rounding.
        floor = 0.01 * largest
        near(gradient[path], x, 3 * tolerance, floor, path)


def near(found, expected, tolerance, floor=0.0, name="outputs"):
    """Check that arrays differ by a share of the largest entry."""
    scale = max(np.abs(expected).max(), floor)
    error = np.abs(found - expected).max() / scale
    assert error < tolerance, f"{name}: {error:.1e} of the largest"
