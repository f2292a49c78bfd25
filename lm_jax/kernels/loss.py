"""Cross-entropy over a vocabulary, and sums over logits that are never all there."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lm_jax.kernels.placement import constrain, platform, ways

# Logits of a piece on a device: 256 MB in float32.
PIECE = 2**26

PieceSums = tuple[Float[Array, ""], dict[str, Float[Array, ""]]]


def cross_entropy(
    logits: Float[Array, "*batch vocab"], targets: Int[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Give the nats of each target, and the logarithm of the normaliser.

    Its gradient is the probabilities, less one at the target. They are made from the
    exponentials of the forward pass: nothing else as large as the logits is kept.
    """
    return _nats(logits, targets)


def smoothed(
    nats: Float[Array, "*batch"],
    normaliser: Float[Array, "*batch"],
    logits: Float[Array, "*batch vocab"],
    share: float,
) -> Float[Array, "*batch"]:
    """Give the nats of targets of which a share is spread over the whole vocabulary.

    Szegedy et al. 2016, 7.

    Args:
        nats: of each target, whole.
        normaliser: the logarithm of that of the logits.
        logits: of the whole vocabulary.
        share: of each target that is spread.
    """
    # Nats of a target that any token is as likely to be.
    even = normaliser - logits.mean(-1)
    return nats + share * (even - nats)


@jax.custom_vjp
def _nats(logits, targets):
    return _nats_forward(logits, targets)[0]


def _nats_forward(logits, targets):
    largest = logits.max(-1)
    exponentials = jnp.exp(logits - largest[..., None])
    total = exponentials.sum(-1)
    nats = jnp.log(total) - (_at(logits, targets) - largest)
    return (nats, jnp.log(total) + largest), (exponentials, total, targets)


def _nats_backward(saved, gradients):
    exponentials, total, targets = saved
    of_nats, of_normaliser = gradients
    scaled = exponentials * ((of_nats + of_normaliser) / total)[..., None]
    return _add_at(scaled, targets, -of_nats), None


_nats.defvjp(_nats_forward, _nats_backward)


def _by_index() -> bool:
    # An accelerator would copy all to look one up, and a vocabulary that is split lies
    # on several devices: there each compares its own part.
    return platform() == "cpu" and ways("vocab") == 1


def _at(logits: Array, targets: Array) -> Array:
    """The logit of each target."""
    if _by_index():
        return jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jnp.where(_is_target(logits, targets), logits, 0).sum(-1)


def _add_at(x: Array, targets: Array, values: Array) -> Array:
    """Add a value at each target."""
    if _by_index():
        rows = jnp.indices(targets.shape, sparse=True)
        return x.at[(*rows, targets)].add(values)
    return x + jnp.where(_is_target(x, targets), values[..., None], 0)


def _is_target(x: Array, targets: Array) -> Array:
    words = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    return words == targets[..., None]


def in_pieces(
    function: Callable[..., PieceSums],
    hidden: Float[Array, "batch time width"],
    *rows: Array,
    vocab_size: int,
    given: tuple = (),
) -> PieceSums:
    """Sum a function of features over pieces of time, one after the other.

    Whatever is as large as the logits exists for a piece alone: the gradient is made
    in the forward pass of each piece, and nothing is computed twice.

    Args:
        function: of features and of the other arrays, cut alike, to a loss and other
            sums; it may use parameters from outside. Only the loss has a gradient.
        hidden: the features.
        rows: arrays (batch, time, ...), a mask among them where pieces may not divide
            time: zeros pad the last piece then, and the function leaves them out.
        vocab_size: of the logits that the function makes.
        given: handed to the function after the rows, whole and without a gradient.
    """
    pieces = pieces_of(hidden.shape[0], hidden.shape[1], vocab_size)
    parts = [cut(array, pieces) for array in (hidden, *rows)]
    first = [array[0] for array in parts]
    # What the function takes from outside becomes an argument, to have a gradient.
    closed, outside = jax.closure_convert(function, *first, *given)
    return _summed(closed, tuple(outside), parts[0], tuple(parts[1:]), given)


def nats_in_pieces(
    logits_of: Callable[[Array], Array],
    hidden: Float[Array, "batch time width"],
    targets: Int[Array, "batch time"],
    vocab_size: int,
) -> Float[Array, "batch time"]:
    """Give the nats of each target, from logits that are never all there.

    Where there are several pieces, their logits are made again in the backward pass:
    the gradient of a sum over a row may depend on the whole of it.

    Args:
        logits_of: features to logits; it may use parameters from outside.
        hidden: the features.
        targets: a token each.
        vocab_size: of the logits.
    """
    pieces = pieces_of(hidden.shape[0], hidden.shape[1], vocab_size)
    if pieces == 1:
        return cross_entropy(logits_of(hidden), targets)[0]

    @jax.checkpoint
    def of_piece(piece: tuple[Array, Array]) -> Array:
        return cross_entropy(logits_of(piece[0]), piece[1])[0]

    nats = jax.lax.map(of_piece, (cut(hidden, pieces), cut(targets, pieces)))
    return put_together(nats, targets.shape[1])


def pieces_of(rows: int, time: int, vocab_size: int) -> int:
    """Into how many pieces time is cut: the fewest that are small.

    Up to twice as many, where those divide it; what others lack is padded.
    """
    time //= ways("time", time)
    most = max(1, PIECE * ways("batch") // (rows * vocab_size))
    fewest = -(-time // most)
    even = (n for n in range(fewest, 2 * fewest) if time % n == 0)
    return next(even, fewest)


def cut(array: Array, pieces: int) -> Array:
    """(batch, time, ...) to (pieces, batch, size, ...); zeros pad the last piece.

    Of devices that split time, each cuts its own part.
    """
    rows, time, *rest = array.shape
    split = ways("time", time)
    if lacking := -(time // split) % pieces:
        array = array.reshape(rows, split, time // split, *rest)
        array = jnp.pad(array, ((0, 0), (0, 0), (0, lacking), *((0, 0) for _ in rest)))
    parts = jnp.moveaxis(array.reshape(rows, split, pieces, -1, *rest), 2, 0)
    return constrain(parts.reshape(pieces, rows, -1, *rest), None, "batch", "time")


def put_together(parts: Array, time: int) -> Array:
    """(pieces, batch, size, ...), as they were cut, to (batch, time, ...)."""
    pieces, rows, _, *rest = parts.shape
    split = ways("time", time)
    parts = jnp.moveaxis(parts.reshape(pieces, rows, split, -1, *rest), 0, 2)
    padded = parts.reshape(rows, split, -1, *rest)
    return padded[:, :, : time // split].reshape(rows, time, *rest)


def _over_pieces(of_piece, parts):
    """Add up the first of what each piece gives, and put the second side by side."""
    first = [array[0] for array in parts]
    if parts[0].shape[0] == 1:
        total, kept = of_piece(first)
        return total, jax.tree.map(lambda x: x[None], kept)

    def add(total, piece):
        summed, kept = of_piece(piece)
        return jax.tree.map(jnp.add, total, summed), kept

    shapes, _ = jax.eval_shape(of_piece, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, list(parts))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _summed(function, outside, hidden, rows, given):
    def of_piece(piece):
        return function(*piece, *given, *outside), ()

    return _over_pieces(of_piece, (hidden, *rows))[0]


def _summed_forward(function, outside, hidden, rows, given):
    def of_piece(piece):
        own, *others = piece
        sums, pull, more = jax.vjp(
            lambda outside, own: function(own, *others, *given, *outside),
            outside,
            own,
            has_aux=True,
        )
        for_outside, for_own = pull(jnp.ones_like(sums))
        return ((sums, more), for_outside), for_own

    (sums, for_outside), for_hidden = _over_pieces(of_piece, (hidden, *rows))
    return sums, (for_outside, for_hidden)


def _summed_backward(function, saved, gradient):
    scaled = jax.tree.map(lambda g: (g * gradient[0]).astype(g.dtype), saved)
    return *scaled, None, None


_summed.defvjp(_summed_forward, _summed_backward)
