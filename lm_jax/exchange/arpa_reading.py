"""An ARPA file becomes an n-gram model.

The format is that of SRILM's ngram-format(5): \\data\\ and the number of n-grams of
each order, then the n-grams, each a line: log10 p, its words and, where longer ones
begin with it, log10 of its back-off, which is 0 where it is missing.
"""

import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import Float64, Int64

from lm_jax.counting import FittedNGram
from lm_jax.counting.fitted import Table, find
from lm_jax.counting.scratch import Progress, Told, telling
from lm_jax.counting.tables import NEVER
from lm_jax.errors import UserError
from lm_jax.files import near
from lm_jax.text.opening import opened, reading
from lm_jax.tokenizers.trained import UNKNOWN
from lm_jax.tokenizers.words import END_OF_SENTENCE, WordTokenizer, as_token

START, END, _UNKNOWNS = b"<s>", b"</s>", (UNKNOWN.encode(), b"<UNK>")
# What KenLM gives a word that isn't there, in a file without <unk>.
_UNKNOWN_LOG10 = -100.0
# What probabilities after a context may sum to: files have few digits.
_MOST = 1.05
# Lines that are read at once.
_LINES = 1 << 16

Row = list[bytes]


class Arpa(NamedTuple):
    """What an ARPA file holds, as ours.

    Attributes:
        tokenizer: of its words. <eos> is the start of a sentence as a context, and the
            end of one as what follows.
        fitted: the probabilities.
        notes: what was not taken or isn't there, in sentences.
    """

    tokenizer: WordTokenizer
    fitted: FittedNGram
    notes: list[str]


def read_arpa(path: Path, progress: Progress | None = None) -> Arpa:
    """Read an ARPA file, compressed or not.

    Args:
        path: of the file.
        progress: told (description, n-grams read, n-grams in all).

    Raises:
        UserError: it is damaged, or is none; with the line.
    """
    notes: list[str] = []
    with reading(path), opened(path) as file:
        lines = _Lines(file, path)
        sizes = lines.sizes()
        told = telling(progress, "reading the n-grams", sum(sizes))
        words = _unigrams(lines, sizes[0], told, notes)
        _check_sums(np.zeros(len(words.p), np.int64), words.p, lines)
        ids = words.ids()
        tables = [_table(np.arange(len(words.p)), words.p, np.zeros(1))]
        rest = words.rest
        for order, size in enumerate(sizes[1:], 2):
            lines.expect(f"\\{order}-grams:")
            found = _longer(lines, order, size, ids, told, notes)
            keys = _keys(found, tables, lines)
            _check_sums(keys // len(words.p), found.p, lines)
            places = np.argsort(keys)
            tables.append(_table(keys[places], found.p[places], rest))
            rest = found.rest[places]
        lines.expect("\\end\\")
    tokenizer = WordTokenizer(words.tokens(path), lowercase=False, end=False)
    statement = (
        f"Given by {path.name}, an ARPA file of order {len(sizes)}: "
        f"{sum(sizes):,} n-grams."
    )
    end = tokenizer.sentence_end_id
    fitted = FittedNGram(tokenizer.vocab_size, end, True, statement, tuple(tables))
    return Arpa(tokenizer, fitted, notes)


class _Lines:
    """The lines of a file, in parts."""

    def __init__(self, file: io.BufferedIOBase, path: Path):
        self.file, self.path, self.number = file, path, 0

    def refuse(self, number: int, what: str) -> NoReturn:
        """Say what is wrong with a line."""
        raise UserError(f"{near(self.path)}, line {number}: {what}.")

    def next(self, missing: str = "\\end\\") -> str:
        """Give the next line that is not empty; there must be one."""
        for line in self.file:
            self.number += 1
            if line.strip():
                return line.decode("utf-8", "replace").strip()
        return self.refuse(self.number, f"the file ends here, without {missing}")

    def expect(self, wanted: str) -> None:
        """Read a line that must be this one."""
        if (found := self.next()) != wanted:
            self.refuse(self.number, f"expected {wanted}, found {found[:60]!r}")

    def sizes(self) -> list[int]:
        """Read how many n-grams each order has, and the head of the unigrams."""
        while self.next(missing="the \\data\\ of an ARPA file") != "\\data\\":
            pass
        found: list[int] = []
        while (line := self.next()) != "\\1-grams:":
            head, _, size = line.partition("=")
            if (
                head.split() != ["ngram", str(len(found) + 1)]
                or not size.strip().isdigit()
            ):
                wanted = f"'ngram {len(found) + 1}=' and a number"
                self.refuse(self.number, f"expected {wanted}, found {line[:60]!r}")
            found.append(int(size))
        if not found or not found[0]:
            self.refuse(self.number, "there is no n-gram")
        return found

    def rows(self, order: int, size: int) -> Iterator[tuple[int, list[Row]]]:
        """Read n-grams as (number of the first line, their fields), part by part."""
        while size:
            rows = [line.split() for line in islice(self.file, min(size, _LINES))]
            for number, row in enumerate(rows, self.number + 1):
                if not order < len(row) < order + 3:
                    self.refuse(number, _misfit(order, row))
            if not rows:
                self.refuse(self.number, "the file ends here, without \\end\\")
            yield self.number + 1, rows
            self.number += len(rows)
            size -= len(rows)

    def numbers(self, first: int, row: list[bytes]) -> Float64[np.ndarray, " rows"]:
        """Read one field of each row, a logarithm, and give 10 to the power of it."""
        found = np.empty(len(row))
        for i, text in enumerate(row):
            try:
                found[i] = float(text)
            except ValueError:
                self.refuse(first + i, f"{text.decode(errors='replace')} is no number")
        with np.errstate(over="ignore"):
            found = 10.0**found
        if not np.isfinite(found).all():
            place = int(np.argmin(np.isfinite(found)))
            self.refuse(first + place, "a number is not finite")
        return found


def _misfit(order: int, row: Row) -> str:
    text = b" ".join(row).decode(errors="replace")
    return (
        f"expected a number, {order} words and perhaps another number, found "
        f"{text[:60]!r}"
    )


class _Unigrams(NamedTuple):
    """The words of a file by our ids, and their probabilities."""

    names: list[bytes]
    p: Float64[np.ndarray, " words"]
    rest: Float64[np.ndarray, " words"]

    def ids(self) -> dict[bytes, int]:
        """Give the id of each word by all the names that it has in n-grams."""
        ids = {name: i for i, name in enumerate(self.names)}
        for alike in ((START, END), _UNKNOWNS):
            known = [ids[name] for name in alike if name in ids]
            ids |= dict.fromkeys(alike, known[0]) if len(known) == 1 else {}
        return ids

    def tokens(self, path: Path) -> tuple[str, ...]:
        """Give the names that they have in a vocabulary of ours."""
        own = dict.fromkeys((START, END), END_OF_SENTENCE)
        own |= dict.fromkeys(_UNKNOWNS, UNKNOWN)
        if _has_both(self.names):
            del own[_UNKNOWNS[1]]
        try:
            return tuple(
                own.get(name) or as_token(name.decode()) for name in self.names
            )
        except UnicodeDecodeError as error:
            raise UserError(f"{near(path)} is not UTF-8: {error}.") from error


def _has_both(names: list[bytes]) -> bool:
    """Whether <unk> is there beside <UNK>, which is a word like others then."""
    return set(_UNKNOWNS) <= set(names)


def _unigrams(lines: _Lines, size: int, told: Told, notes: list[str]) -> _Unigrams:
    """Read the words; the start of a sentence and its end become one."""
    names: list[bytes] = []
    numbers = [np.ones((2, 0))]
    for first, rows in lines.rows(1, size):
        names += [row[1] for row in rows]
        numbers.append(_numbers(lines, first, rows, 1))
        told(len(rows))
    if len(set(names)) < len(names):
        lines.refuse(lines.number, "some word has two unigrams")
    p, rest = np.concatenate(numbers, axis=1)
    if not set(names) & set(_UNKNOWNS):
        names.append(_UNKNOWNS[0])
        p, rest = np.append(p, 10.0**_UNKNOWN_LOG10), np.append(rest, 1.0)
        notes.append(
            f"There is no {UNKNOWN}: log10 p of words that aren't there is "
            f"{_UNKNOWN_LOG10:g}, as KenLM has it."
        )
    if _has_both(names):
        notes.append(
            f"There are {UNKNOWN} and {_UNKNOWNS[1].decode()}: the first stands for "
            "words that aren't there, the second is a word like others."
        )
    if START in names and END in names:
        start = names.index(START)
        rest[names.index(END)] = rest[start]
        names.pop(start)
        p, rest = np.delete(p, start), np.delete(rest, start)
    return _Unigrams(names, p, rest)


def _numbers(
    lines: _Lines, first: int, rows: list[Row], order: int
) -> Float64[np.ndarray, "2 rows"]:
    """Give p and the back-off of each row."""
    p = lines.numbers(first, [row[0] for row in rows])
    if (p > 1).any():
        lines.refuse(first + int(np.argmax(p > 1)), "the logarithm of p is above 0")
    last = [row[-1] if len(row) == order + 2 else b"0" for row in rows]
    return np.stack([p, lines.numbers(first, last)])


class _Longer(NamedTuple):
    """N-grams of one order, in the order of the file."""

    ids: Int64[np.ndarray, "grams order"]
    p: Float64[np.ndarray, " grams"]
    rest: Float64[np.ndarray, " grams"]
    lines: Int64[np.ndarray, " grams"]


def _longer(
    lines: _Lines,
    order: int,
    size: int,
    ids: Mapping[bytes, int],
    told: Told,
    notes: list[str],
) -> _Longer:
    """Read the n-grams of an order above 1.

    Those that go over the start or the end of a sentence are left out: no context does.
    """
    none = np.ones(0)
    found = [_Longer(np.zeros((0, order), int), none, none, np.zeros(0, int))]
    for first, rows in lines.rows(order, size):
        grams = [row[1 : order + 1] for row in rows]
        inside = [START not in gram[1:] and END not in gram[:-1] for gram in grams]
        table = [[ids.get(word, -1) for word in gram] for gram in grams]
        numbers = np.array(table, np.int64)
        if (numbers < 0).any():
            line = int(np.argmax((numbers < 0).any(axis=1)))
            lines.refuse(first + line, "a word of this n-gram has no unigram")
        kept = np.flatnonzero(inside)
        p, rest = _numbers(lines, first, rows, order)[:, kept]
        found.append(_Longer(numbers[kept], p, rest, first + kept))
        told(len(rows))
    made = _Longer(*map(np.concatenate, zip(*found, strict=True)))
    if lost := size - len(made.p):
        notes.append(
            f"{lost:,} n-grams of order {order} go over the start or the end of a "
            "sentence: they are left out."
        )
    return made


def _check_sums(
    contexts: Int64[np.ndarray, " grams"],
    p: Float64[np.ndarray, " grams"],
    lines: _Lines,
) -> None:
    """Refuse n-grams whose probabilities are no parts of 1, but for their rounding.

    Raises:
        UserError: with what the worst context sums to.
    """
    most = float(np.max(np.bincount(contexts, p), initial=0.0))
    if most > _MOST:
        lines.refuse(
            lines.number,
            f"the n-grams up to here have probabilities that sum to {most:.3g} after "
            "one context, and to 1 at most they may: a perplexity by them would be of "
            "no code (are the logarithms to base 10?)",
        )


def _keys(
    found: _Longer, tables: list[Table], lines: _Lines
) -> Int64[np.ndarray, " grams"]:
    """Give the keys of n-grams: the id of their context, and their last token."""
    vocab_size = len(tables[0].keys) - 1
    contexts = np.zeros(len(found.p), np.int64)
    for table, ids in zip(tables, found.ids.T, strict=False):
        contexts = find(table.keys, contexts * vocab_size + ids)
        if (contexts < 0).any():
            line = int(found.lines[np.argmax(contexts < 0)])
            lines.refuse(line, "the words before the last are no n-gram of the file")
    keys = contexts * vocab_size + found.ids[:, -1]
    _, firsts = np.unique(keys, return_index=True)
    if len(firsts) < len(keys):
        again = np.setdiff1d(np.arange(len(keys)), firsts)[0]
        lines.refuse(int(found.lines[again]), "this n-gram stands there twice")
    return keys


def _table(
    keys: Int64[np.ndarray, " grams"],
    p: Float64[np.ndarray, " grams"],
    rest: Float64[np.ndarray, " contexts"],
) -> Table:
    return Table(np.append(keys, NEVER), np.append(p, np.nan), np.append(rest, 1.0))
