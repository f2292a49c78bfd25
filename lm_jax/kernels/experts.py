"""Layers of many experts, of which a few serve each token, written for each backend.

`of_all` is the plain form; `of_few` computes only the experts that are chosen.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from lm_jax.kernels.exchange import exchanged
from lm_jax.kernels.experts_tpu import grouped, lacks
from lm_jax.kernels.placement import by_platform, current, device_kind, ways
from lm_jax.kernels.sorting import Places, collected, places_of, spread

Product = Callable[[Array, Array, Places], Array]


class Layer(NamedTuple):
    """One layer of every expert.

    Attributes:
        kernel: of each.
        bias: of each; None where there is none.
    """

    kernel: Float[Array, "experts k n"]
    bias: Float[Array, "experts n"] | None


class Experts(NamedTuple):
    """What every expert computes: ``bend(x @ inner ...) @ outer``.

    Attributes:
        inner: layers that read the token: up, or gate and up.
        outer: the layer that reads what is bent.
    """

    inner: tuple[Layer, ...]
    outer: Layer


def flops(name: str, shapes: list[tuple[int, ...]]) -> float | None:
    """Count the operations of a TPU's product of sorted rows; None of other kernels.

    Args:
        name: as it is called in the compiled program.
        shapes: of its operands in floating point: rows, and the experts' kernels or,
            for the gradient of these, other rows. What only says where rows stand has
            none.
    """
    if not name.startswith(("ragged-dot", "gmm", "tgmm")):
        return None
    if len(shapes) < 2:
        return 0.0
    rows, other = shapes[:2]
    if len(other) == 3:  # each row meets the kernel of one expert
        return 2.0 * rows[0] * other[1] * other[2]
    return 2.0 * rows[0] * rows[1] * other[1]


def mixture(
    x: Float[Array, "batch time width"],
    weights: Float[Array, "batch time experts"],
    k: int,
    layers: Experts,
    bend: Callable[..., Array],
) -> Float[Array, "batch time width"]:
    """Sum what the experts give each token, weighted.

    The platform decides how; see `lm_jax.kernels.placement.by_platform`.

    Args:
        x: the tokens.
        weights: of the experts; all but k are zero, and take no gradient.
        k: how many experts serve a token.
        layers: of the experts, of the tokens' type.
        bend: what comes between: reads as many arrays as there are inner layers.
    """
    if k == weights.shape[-1] and ways("experts", k) == 1:
        y = of_all(x, weights, layers, bend)
    else:
        y = _on_each_device(x, weights, k, layers, bend)
    bias = layers.outer.bias
    return y if bias is None else y + weights @ bias


def of_all(
    x: Float[Array, "batch time width"],
    weights: Float[Array, "batch time experts"],
    layers: Experts,
    bend: Callable[..., Array],
) -> Float[Array, "batch time width"]:
    """Compute all experts for all tokens, most of them to be weighted by zero.

    The bias of the outer layer is left out; see `mixture`.
    """
    found = []
    for kernel, bias in layers.inner:
        hidden = jnp.einsum("btw,ewh->bteh", x, kernel)
        found.append(hidden if bias is None else hidden + bias)
    bent = bend(*found) * weights[..., None]
    return jnp.einsum("bteh,ehw->btw", bent, layers.outer.kernel)


class Form(NamedTuple):
    """How a platform multiplies rows that are sorted by their expert.

    Attributes:
        block: how many rows of one expert stand together; gaps are filled by zeros.
            None is half of what an expert has on average.
        product: multiplies each row by its expert's kernel.
    """

    block: int | None
    product: Product


def of_few(
    x: Float[Array, "batch time width"],
    weights: Float[Array, "batch time experts"],
    k: int,
    layers: Experts,
    bend: Callable[..., Array],
    form: Form | None = None,
) -> Float[Array, "batch time width"]:
    """Compute the k experts of each token, in rows that are sorted by their expert.

    The bias of the outer layer is left out; see `mixture`.
    """
    experts = weights.shape[-1]
    rows = x.reshape(-1, x.shape[-1])
    shares, chosen = jax.lax.top_k(weights.reshape(-1, experts), k)
    return of_chosen(rows, shares, chosen, layers, bend, form).reshape(x.shape)


def of_chosen(
    rows: Float[Array, "tokens width"],
    shares: Float[Array, "tokens k"],
    chosen: Int[Array, "tokens k"],
    layers: Experts,
    bend: Callable[..., Array],
    form: Form | None = None,
) -> Float[Array, "tokens width"]:
    """Compute the chosen experts of each token; see `of_few`.

    Args:
        rows: the tokens.
        shares: of each of their experts in what they are given.
        chosen: the experts; one that is not among the layers gives nothing.
        layers, bend: as of `mixture`.
        form: of the products; None is that of the kind of device, or the platform's.
    """
    form = form or KINDS.get(device_kind() or "")
    if form is None:
        served = functools.partial(of_chosen, bend=bend)
        forms = {name: functools.partial(served, form=FORMS[name]) for name in FORMS}
        return by_platform(forms, rows, shares, chosen, layers)
    block, product = form
    experts = len(layers.outer.kernel)
    block = min(block or max(1, chosen.size // (2 * experts)), len(rows))
    places = places_of(chosen, experts, block)
    sorted_rows = spread(rows, places.moves)
    found = []
    for kernel, bias in layers.inner:
        hidden = product(sorted_rows, kernel, places)
        if bias is not None:
            hidden = hidden + jnp.repeat(bias[places.expert], block, axis=0)
        found.append(hidden)
    share = shares.reshape(-1).at[places.moves.source].get(mode="fill", fill_value=0)
    bent = bend(*found) * share[:, None]
    return collected(product(bent, layers.outer.kernel, places), places.moves)


def _ragged(rows, kernel, places):
    # A TPU's compiler refuses more precision for bfloat16, which has no more.
    most = jax.lax.Precision.DEFAULT if rows.dtype == jnp.bfloat16 else None
    return jax.lax.ragged_dot(rows, kernel, places.rows, precision=most)


def _grouped(rows, kernel, places):
    block = len(rows) // places.expert.size
    if lacks(block, *kernel.shape[1:]):
        return _ragged(rows, kernel, places)
    return grouped(rows, kernel, places.rows, block)


def _parted(rows: Array, places: Places) -> Array:
    return rows.reshape(places.expert.size, -1, rows.shape[-1])


@jax.custom_vjp
def _batched(rows, kernel, places):
    """All blocks at once, each beside a copy of its expert's kernel."""
    y = jnp.einsum("nbw,nwh->nbh", _parted(rows, places), kernel[places.expert])
    return y.reshape(-1, y.shape[-1])


def _batched_forward(rows, kernel, places):
    return _batched(rows, kernel, places), (rows, kernel, places)


def _batched_backward(saved, gradient):
    rows, kernel, places = saved
    x, gradient = _parted(rows, places), _parted(gradient, places)
    grad_rows = jnp.einsum("nbh,nwh->nbw", gradient, kernel[places.expert])
    each = jnp.einsum("nbw,nbh->nwh", x, gradient, preferred_element_type=jnp.float32)
    # A product, since sums that a GPU scatters come in any order.
    owned = jax.nn.one_hot(places.expert, len(kernel))
    grad_kernel = jnp.einsum("ne,nwh->ewh", owned, each)
    return grad_rows.reshape(rows.shape), grad_kernel.astype(kernel.dtype), None


_batched.defvjp(_batched_forward, _batched_backward)


@jax.custom_vjp
def _looped(rows, kernel, places):
    """One block after the other, as many as there are."""
    x = _parted(rows, places)

    def step(i, y):
        return y.at[i].set(x[i] @ kernel[places.expert[i]])

    y = jnp.zeros((*x.shape[:2], kernel.shape[-1]), x.dtype)
    y = jax.lax.fori_loop(0, _blocks(x, places), step, y)
    return y.reshape(-1, y.shape[-1])


def _blocks(x: Array, places: Places) -> Array:
    return places.rows.sum() // x.shape[1]


def _looped_forward(rows, kernel, places):
    return _looped(rows, kernel, places), (rows, kernel, places)


def _looped_backward(saved, gradient):
    rows, kernel, places = saved
    x, gradient = _parted(rows, places), _parted(gradient, places)

    def step(i, sums):
        grad_x, grad_kernel = sums
        expert = places.expert[i]
        own = jnp.matmul(x[i].T, gradient[i], preferred_element_type=jnp.float32)
        grad_x = grad_x.at[i].set(gradient[i] @ kernel[expert].T)
        return grad_x, grad_kernel.at[expert].add(own)

    sums = jnp.zeros_like(x), jnp.zeros(kernel.shape, jnp.float32)
    grad_x, grad_kernel = jax.lax.fori_loop(0, _blocks(x, places), step, sums)
    return grad_x.reshape(rows.shape), grad_kernel.astype(kernel.dtype), None


_looped.defvjp(_looped_forward, _looped_backward)

# By the compiled programs of 8 gated experts, 2 for each of 8 x 1024 tokens, of width
# 1024 and hidden 4096 in bfloat16, forward and backward (jax 0.12, for an H100, not
# timed on one): all experts are 4.9 TFLOP and 2064 MiB of temporaries, blocks at
# once 1.8 and 1472. A ragged product, which XLA rewrites there, is 9.9 and 3200.
#
# On a v5p each ragged product is a kernel of its own, in all three passes: the same
# with 4 x 1024 tokens has 273 MiB of temporaries (compiled, not timed). For a v5e and a
# v6e the compiler makes products with all experts of it: blocks go to a kernel there.
#
# A CPU at 12 x 64 tokens, width 384, hidden 1536, not gated, in float32, forward and
# backward: all experts 1792 ms, blocks of 32 rows one after the other 591, of 64 473,
# of 128 523; in another run blocks of 64 at once 1348 beside 3061 of all (jax 0.12, two
# EPYC cores that others used too).
FORMS = {
    "tpu": Form(1, _ragged),
    "gpu": Form(None, _batched),
    "cpu": Form(64, _looped),
}
KINDS = dict.fromkeys(("TPU v5 lite", "TPU v6 lite"), Form(128, _grouped))
"""Of some kinds of device, as jax names them; they go before those of platforms."""


def _on_each_device(
    x: Array, weights: Array, k: int, layers: Experts, bend: Callable[..., Array]
) -> Array:
    """Sort and multiply where the rows, the experts and hidden columns lie.

    The partitioner can't cut what is sorted: it would copy all tokens to each device.
    """
    placement = current()
    if placement is None:
        return of_few(x, weights, k, layers, bend)
    split = placement.split
    spec: Any = PartitionSpec
    tokens = spec(split("batch", len(x)), split("time", x.shape[1]))
    columns = split("hidden", layers.outer.kernel.shape[1])
    axes = split("experts", weights.shape[-1])
    into, beside = spec(axes, None, columns), spec(axes, columns)
    specs = Experts(
        tuple(Layer(into, None if b is None else beside) for _, b in layers.inner),
        Layer(spec(axes, columns), None),
    )

    def run(x: Array, weights: Array, layers: Experts) -> Array:
        if axes is None:
            return of_few(x, weights, k, layers, bend)[None]

        def serve(rows: Array, shares: Array, chosen: Array) -> Array:
            return of_chosen(rows, shares, chosen, layers, bend)

        return exchanged(x, weights, k, serve, axes, placement.mesh.axis_names)[None]

    # What each part of the hidden columns gives is summed outside.
    parts = placement.on_parts(
        run,
        in_specs=(tokens, tokens, specs),
        out_specs=spec(columns, *tokens),
    )
    own = layers._replace(outer=layers.outer._replace(bias=None))
    return parts(x, weights, own).sum(0)
