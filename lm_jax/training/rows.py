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

Step = Callable[[TrainState, dict[str, Array]], tuple[TrainState, dict[str, Array]]]


class Rows(NamedTuple):
    """The rows that ids name, and where each row stands among them.

    Attributes:
        ids: each once, in order; the size of the table fills the end.
        places: of each row that is named, its place in `ids`.
    """

    ids: Int[Array, " named"]
    places: Int[Array, " rows"]


def on_rows(
    make: Callable[[nn.Module], Step], model: nn.Module, names: Sequence[str]
) -> Step:
    """Make a step that touches only the rows that a batch names.

    Args:
        make: makes the step of a model, by an optimizer that is `still`.
        model: each of its parameters has a row for each token.
        names: the fields of a batch whose numbers are those of rows. Where it may
            name most rows, the step is over all of them.
    """
    size = model.vocab_size

    def step(state: TrainState, batch: dict[str, Array]):
        named = {name: batch[name] for name in names if name in batch}
        most = sum(each.size for each in named.values())
        if 2 * most > size:
            return make(model)(state, batch)
        rows = rows_of(jnp.concatenate([each.ravel() for each in named.values()]), size)
        near = {name: rows.places[each] for name, each in named.items()}
        small = jax.tree.map(lambda leaf: _taken(leaf, rows.ids, size), state)
        new, metrics = make(model.clone(vocab_size=most))(small, batch | near)
        whole = jax.tree.map(lambda a, b: _put(a, b, rows.ids, size), state, new)
        return whole, metrics

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
    return Rows(each, jnp.zeros(size, jnp.int32).at[ids].set(place.astype(jnp.int32)))


def _is_table(leaf: Array, size: int) -> bool:
    return leaf.ndim > 0 and leaf.shape[0] == size


def _taken(leaf: Array, ids: Array, size: int) -> Array:
    # What fills the end is some row: no gradient reaches it, and it isn't put back.
    return leaf.at[ids].get(mode="clip") if _is_table(leaf, size) else leaf


def _put(old: Array, new: Array, ids: Array, size: int) -> Array:
    if not _is_table(old, size):
        return new
    return old.at[ids].set(new, mode="drop", indices_are_sorted=True)
