"""Steps that read and write only those rows of large tables that a batch names.

The tables of word vectors have a row for each word, and a batch has few of the words.
What an optimizer does with a row whose gradient is 0 may be nothing (see
`OptimizerBase.still`); then a step over the other rows alone gives the same state, in
a time that doesn't grow with the vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from lm_jax.training.state import TrainState

FEW = 0.4  # Share of the numbers of a batch that there is room for, mostly.
Step = Callable[[TrainState, dict[str, Array]], tuple[TrainState, dict[str, Array]]]


class Rows(NamedTuple):
    """The rows that ids name, and where each row stands among them.

    Attributes:
        ids: each once, in order; the size of the table fills the end.
        places: of each row that is named, its place in `ids`.
        number: of rows that are named.
    """

    ids: Int[Array, " named"]
    places: Int[Array, " rows"]
    number: Int[Array, ""]


def on_rows(
    make: Callable[[nn.Module], Step], model: nn.Module, names: Sequence[str]
) -> Step:
    """Make a step that touches only the rows that a batch names.

    Args:
        make: makes the step of a model, by an optimizer that is `still`.
        model: each of its parameters has a row for each token.
        names: the fields of a batch whose numbers are those of rows. Where it may
            name most rows, the step is over all of them. Words of a text come again,
            so that a step with room for fewer rows is tried first.
    """
    size = model.vocab_size

    def over(rows: Rows, most: int) -> Step:
        """Make a step over the first rows of those that are named."""
        if 2 * most > size:
            return make(model)
        ids = rows.ids[:most]

        def step(state: TrainState, batch: dict[str, Array]):
            near = {name: rows.places[batch[name]] for name in names if name in batch}
            small = jax.tree.map(lambda leaf: _taken(leaf, ids, size), state)
            new, metrics = make(model.clone(vocab_size=most))(small, batch | near)
            put = jax.tree.map(lambda a, b: _put(a, b, ids, size), state, new)
            return put, metrics

        return step

    def step(state: TrainState, batch: dict[str, Array]):
        named = [batch[name].ravel() for name in names if name in batch]
        most = sum(each.size for each in named)
        few = int(FEW * most)
        if 2 * few > size:
            return make(model)(state, batch)
        rows = rows_of(jnp.concatenate(named), size)
        steps = over(rows, few), over(rows, most)
        return jax.lax.cond(rows.number <= few, *steps, state, batch)

    return step


def rows_of(ids: Int[Array, " ids"], size: int) -> Rows:
    """Give the rows that ids name.

    Args:
        ids: of rows, in any order and as often as they come.
        size: of the table.
    """
    ids = jnp.sort(ids)
    first = jnp.concatenate([jnp.ones(1, bool), ids[1:] != ids[:-1]])
    place = jnp.cumsum(first) - 1
    each = jnp.full(ids.shape, size, ids.dtype).at[place].set(ids)
    places = jnp.zeros(size, jnp.int32).at[ids].set(place.astype(jnp.int32))
    return Rows(each, places, place[-1] + 1)


def _is_table(leaf: Array, size: int) -> bool:
    return leaf.ndim > 0 and leaf.shape[0] == size


def _taken(leaf: Array, ids: Array, size: int) -> Array:
    # What fills the end is some row: no gradient reaches it, and it isn't put back.
    return leaf.at[ids].get(mode="clip") if _is_table(leaf, size) else leaf


def _put(old: Array, new: Array, ids: Array, size: int) -> Array:
    if not _is_table(old, size):
        return new
    return old.at[ids].set(new, mode="drop", indices_are_sorted=True)
