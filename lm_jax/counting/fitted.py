"""A fitted n-gram model: sorted tables, and what they say of a text."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from lm_jax.counting.saved import load_arrays, loading
from lm_jax.counting.scratch import Progress
from lm_jax.counting.tables import Ends, before, context_lengths
from lm_jax.errors import UserError
from lm_jax.files import save_array, write_json
from lm_jax.folders import whole_folder

ABOUT = "about.json"
_BLOCK = 1 << 18


class Table(NamedTuple):
    """The n-grams of one order.

    The last entry of each array stands for what was never seen; its index is -1,
    as is the id of an n-gram that was never seen.
    """

    keys: Int64[np.ndarray, " grams"]
    """Sorted: (id of the context) * vocab_size + (last token)."""
    probabilities: Float64[np.ndarray, " grams"]
    """Of the last token after the context."""
    rest: Float64[np.ndarray, " contexts"]
    """Of each context: the factor of whatever comes below."""


class _Step(NamedTuple):
    """Of each token: its n-gram of one order."""

    table: Table
    contexts: np.ndarray
    grams: np.ndarray
    inside: np.ndarray


@dataclass(frozen=True, eq=False)
class FittedNGram:
    """The probabilities of an n-gram model, for every context there is."""

    writes: ClassVar[bool] = True
    labels: ClassVar[tuple[str, ...]] = ()

    vocab_size: int
    end_id: Ends
    """Contexts begin with such a token, or anywhere where it is None."""
    backs_off: bool
    """Below a context is the shorter one; otherwise the uniform distribution."""
    statement: str
    """Sentences on what was fitted, to what, and what the probabilities are."""
    tables: tuple[Table, ...]
    """One for each order from 1 on."""

    @property
    def order(self) -> int:
        """Give the number of tokens of the longest n-gram."""
        return len(self.tables)

    @property
    def parameters(self) -> int:
        """Give the number of n-grams stored, of all orders."""
        return sum(len(table.keys) - 1 for table in self.tables)

    def log_probabilities(
        self, ids: Integer[np.ndarray, " tokens"], progress: Progress | None = None
    ) -> Float64[np.ndarray, " targets"]:
        """Give ln p of each token but the first, given all tokens before it.

        Args:
            ids: (tokens,), at least one.
            progress: told (description, tokens done, tokens in all).

        Returns:
            (tokens - 1,), nats; -inf where a probability is 0.

        Raises:
            UserError: an id is not in the vocabulary.
        """
        scored = [np.empty(0)]
        for start in range(1, len(ids), _BLOCK):
            first = max(0, start - self.order + 1)
            block = ids[first : start + _BLOCK].astype(np.int64)
            check_ids(block, self.vocab_size)
            with np.errstate(divide="ignore"):
                scored.append(np.log(self._probabilities(block)[start - first :]))
            if progress is not None:
                progress("scoring", min(start + _BLOCK, len(ids)), len(ids))
        return np.concatenate(scored)

    def _probabilities(
        self, ids: Int64[np.ndarray, " time"]
    ) -> Float64[np.ndarray, " time"]:
        """Give p of each token after the tokens before it, one order at a time."""
        uniform = 1.0 / self.vocab_size
        p = np.full(ids.shape, uniform)
        for table, contexts, grams, inside in self._walk(ids):
            below = p if self.backs_off else uniform
            seen = table.probabilities[grams]
            longer = np.where(grams >= 0, seen, table.rest[contexts] * below)
            p = np.where(inside, longer, p)
        return p

    def next_probabilities(
        self, contexts: Integer[np.ndarray, "batch length"]
    ) -> Float64[np.ndarray, "batch vocab"]:
        """Give the distribution of the token after each context.

        Args:
            contexts: rows of tokens, oldest first, of any length; the last
                order - 1 count. -1 at the left fills a row that is shorter.
        """
        recent = contexts[:, max(0, contexts.shape[1] - self.order + 1) :]
        check_ids(recent[recent >= 0], self.vocab_size)
        # The walk looks up the token after the context too: any will do.
        rows = np.pad(recent.astype(np.int64), ((0, 0), (0, 1)))
        uniform = 1.0 / self.vocab_size
        p = np.full((len(rows), self.vocab_size), uniform)
        for table, found, _, inside in self._walk(rows):
            # Rows whose context is shorter keep what they have.
            which = np.flatnonzero(inside[:, -1])
            context = found[which, -1]
            below = p[which] if self.backs_off else uniform
            p[which] = table.rest[context][:, None] * below
            first, last = np.searchsorted(
                table.keys, np.stack([context, context + 1]) * self.vocab_size
            )
            grams, row = _ranges(first, last)
            words = table.keys[grams] - context[row] * self.vocab_size
            p[which[row], words] = table.probabilities[grams]
        return p

    def _walk(self, ids: Int64[np.ndarray, "*rows time"]) -> Iterator[_Step]:
        """Look up, order by order, the n-gram that ends at each token.

        Its context is the n-gram of the order below that ends a token earlier.
        """
        lengths = context_lengths(ids, self.end_id, self.order - 1)
        contexts = np.zeros(ids.shape, np.int64)
        for length, table in enumerate(self.tables):
            inside = lengths >= length
            contexts = np.where(inside, contexts, -1)
            grams = np.full(ids.shape, -1)
            known = contexts >= 0
            wanted = contexts[known] * self.vocab_size + ids[known]
            grams[known] = find(table.keys, wanted)
            yield _Step(table, contexts, grams, inside)
            contexts = before(grams)

    def save(self, path: Path) -> None:
        """Write a folder, whole or not at all: each array a file, which can be mapped.

        Raises:
            UserError: the folder cannot be written.
        """
        about = {
            "vocab_size": self.vocab_size,
            "end_id": self.end_id,
            "backs_off": self.backs_off,
            "statement": self.statement,
            "order": self.order,
        }
        with whole_folder(path, same=True) as folder:
            for order, table in enumerate(self.tables, 1):
                for name, array in table._asdict().items():
                    save_array(folder / f"{name}{order}.npy", array)
            write_json(folder / ABOUT, about)


def load(path: Path) -> FittedNGram:
    """Map what `FittedNGram.save` wrote; what is looked up is read, and no more.

    Earlier versions wrote one file, ``path`` with the suffix .npz; it is read whole.

    Raises:
        UserError: there is no such folder, or it holds no n-gram model.
    """
    earlier = path.with_suffix(".npz")
    if not path.exists() and earlier.exists():
        with loading(earlier, "n-gram model"):
            return _earlier(earlier)
    with loading(path, "n-gram model"):
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        tables = tuple(
            Table(*(_mapped(path / f"{name}{order}.npy") for name in Table._fields))
            for order in range(1, about.pop("order") + 1)
        )
        return _fitted(about, tables)


def _fitted(about: dict[str, Any], tables: tuple[Table, ...]) -> FittedNGram:
    if isinstance(about["end_id"], list):
        about["end_id"] = tuple(about["end_id"])
    return FittedNGram(**about, tables=tables)


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r"))


def _earlier(path: Path) -> FittedNGram:
    about, arrays = load_arrays(path)
    tables = tuple(
        Table(*(arrays[f"{name}{order}"] for name in Table._fields))
        for order in range(1, len(arrays) // len(Table._fields) + 1)
    )
    return _fitted(about, tables)


def find(
    keys: Int64[np.ndarray, " grams"], wanted: Int64[np.ndarray, " _"]
) -> Int64[np.ndarray, " _"]:
    """Give the places of keys, -1 of those that aren't there.

    They are sought in their order: neighbours lie in memory that was just read.
    """
    order = np.argsort(wanted)
    ascending = wanted[order]
    places = np.searchsorted(keys, ascending)
    found = np.empty_like(places)
    found[order] = np.where(keys[places] == ascending, places, -1)
    return found


def check_ids(ids: Integer[np.ndarray, " tokens"], vocab_size: int) -> None:
    """Refuse tokens that are not in the vocabulary.

    Raises:
        UserError: naming the first such token.
    """
    strange = ids[(ids < 0) | (ids >= vocab_size)]
    if len(strange):
        raise UserError(
            f"There is a token {strange[0]}, and the model knows 0 to "
            f"{vocab_size - 1}. Was the text written with another tokenizer?"
        )


def _ranges(
    first: Int64[np.ndarray, " ranges"], last: Int64[np.ndarray, " ranges"]
) -> tuple[Int64[np.ndarray, " members"], Int64[np.ndarray, " members"]]:
    """Give the members of all ranges, and of each the number of its range."""
    sizes = last - first
    row = np.repeat(np.arange(len(sizes)), sizes)
    ends = np.cumsum(sizes)
    return np.arange(len(row)) + (first - ends + sizes)[row], row
