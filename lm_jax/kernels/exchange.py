"""Tokens travel to the devices of their experts and back, and none is dropped."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lm_jax.kernels.sorting import collected, moves_to, spread

# Room for tokens in one exchange, over what equally busy experts need.
SLACK = 1.25


def exchanged(
    x: Float[Array, "batch time width"],
    weights: Float[Array, "batch time experts"],
    k: int,
    serve: Callable[..., Array],
    axes: tuple[str, ...],
    everywhere: tuple[str, ...],
) -> Float[Array, "batch time width"]:
    """Give each token the sum over its experts, which lie on other devices.

    Two all-to-alls go round as often as the busiest device needs, with room for a
    little more than an even share of the tokens: once where the experts are about
    equally busy. Later rounds are computed again in the backward pass, so that memory
    does not grow with them. Called on each device by itself.

    Args:
        x: the tokens of a device.
        weights: of all experts; all but k are zero.
        k: how many experts serve a token.
        serve: of rows, their shares and experts among a device's own, what these give.
        axes: of the mesh, over which the experts are split.
        everywhere: all axes of the mesh.
    """
    count, devices = weights.shape[-1], jax.lax.axis_size(axes)
    own = count // devices
    rows = x.reshape(-1, x.shape[-1])
    shares, chosen = jax.lax.top_k(weights.reshape(-1, count), k)
    device = chosen.reshape(-1) // own
    sent = (device[:, None] == jnp.arange(devices)).astype(jnp.int32)
    number = jnp.take_along_axis(jnp.cumsum(sent, 0) - 1, device[:, None], 1)[:, 0]
    room = -(-int(SLACK * device.size) // devices)
    # All devices go round as often: else those that are done would be waited for.
    rounds = jax.lax.pmax(number.max() // room + 1, everywhere)

    def there_and_back(turn: Array | int) -> Array:
        place = device * room + number % room
        place = jnp.where(number // room == turn, place, devices * room)
        moves = moves_to(place, chosen, devices * room)

        def across(rows: Array) -> Array:
            return jax.lax.all_to_all(rows, axes, 0, 0, tiled=True)

        def copied(each: Array, gap: int) -> Array:
            return each.reshape(-1).at[moves.source].get(mode="fill", fill_value=gap)

        share, expert = copied(shares, 0), copied(chosen % own, own)
        arrived = across(spread(rows, moves)), across(share), across(expert)
        y = serve(arrived[0], arrived[1][:, None], arrived[2][:, None])
        return collected(across(y), moves)

    def again(y: Array, turn: Array) -> tuple[Array, None]:
        more = jax.lax.cond(
            turn < rounds, there_and_back, lambda _: jnp.zeros_like(rows), turn
        )
        return y + more, None

    y = there_and_back(0)
    most = -(-device.size // room)
    again = jax.checkpoint(again, prevent_cse=False)
    return jax.lax.scan(again, y, jnp.arange(1, most))[0].reshape(x.shape)
