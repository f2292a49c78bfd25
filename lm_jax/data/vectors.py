"""Word vectors as text: the format of word2vec, and GloVe's, which has no header."""

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.text.opening import opened, reading

# Stands for a space in a word, as SentencePiece writes it.
_SPACE_SIGN = "▁"


def write_vectors(
    path: Path, words: Sequence[str], vectors: Float[np.ndarray, "rows width"]
) -> None:
    """Write "rows width", then a line of each word and its numbers.

    The numbers are as short as float32 can be read back from exactly. A space in a
    word, such as a subword's first, is written "▁" (U+2581).

    Args:
        path: of the file, which is written whole or not at all.
        words: one for each row.
        vectors: their vectors, written as float32.

    Raises:
        UserError: a word is empty, has other white space in it or comes twice, or
            the file cannot be written.
    """
    rows, width = vectors.shape
    if len(words) != rows:
        raise UserError(f"{len(words):,} words can't name {rows:,} vectors.")
    words = [word.replace(" ", _SPACE_SIGN) for word in words]
    for word in words:
        if word.split() != [word]:
            raise UserError(
                f"The word {word!r} has white space in it or is empty: the format "
                "can't hold it. Leave it out."
            )
    if len(set(words)) < rows:
        raise UserError(f"The word {_twice(words)!r} comes twice. Leave one out.")
    lines = [f"{rows} {width}"]
    for word, vector in zip(words, vectors.astype(np.float32), strict=True):
        lines.append(" ".join([word, *map(str, vector)]))
    atomic_write(path, "\n".join(lines) + "\n")


def read_vectors(
    path: Path, say: Callable[[str], object] = warnings.warn
) -> tuple[list[str], Float32[np.ndarray, "rows width"]]:
    """Read what word2vec, gensim, fastText or GloVe wrote as text, or its .gz.

    A "▁" (U+2581) in a word is a space. Of a word that comes again the first vector
    is kept.

    Args:
        path: of the file; compressed if its name says so.
        say: is told how many words came again, if any did.

    Raises:
        UserError: the file is missing or damaged; the line is named.
    """
    if not path.exists():
        raise UserError(f"There are no vectors at {path}.")
    try:
        with reading(path), opened(path) as file:
            stream: Any = file
            lines = io.TextIOWrapper(stream, "utf-8-sig", newline="\n")
            words, vectors = _read(path, lines)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read as text: {error}. Vectors are read as text alone: "
            "word2vec's own binary files become it by gensim (load_word2vec_format("
            "FILE, binary=True), then save_word2vec_format(NEW))."
        ) from error
    first: dict[str, int] = {}
    for row, word in enumerate(words):
        first.setdefault(word, row)
    if again := len(words) - len(first):
        say(
            f"{again:,} of {len(words):,} lines of {path} repeat a word, such as "
            f"{_twice(words)!r}: the first of each is kept"
        )
        words, vectors = [*first], vectors[[*first.values()]]
    return words, vectors


def _read(path: Path, lines: Iterable[str]) -> tuple[list[str], np.ndarray]:
    rows, width, words, vectors = None, 0, [], []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        fields = line.rstrip().split(" ")
        if number == 1 and len(fields) == 2 and all(map(str.isdecimal, fields)):
            rows, width = map(int, fields)
            continue
        width = width or len(fields) - 1
        word, vector = _parsed(line.rstrip(), width, where)
        words.append(word.replace(_SPACE_SIGN, " "))
        vectors.append(vector)
    if not words or rows not in (None, len(words)):
        said = "a line for each word" if rows is None else f"{rows:,} lines of them"
        raise UserError(
            f"{path} has {len(words):,} vectors, not {said}: it was cut short, or is "
            "no file of vectors."
        )
    return words, np.stack(vectors)


def _parsed(line: str, width: int, where: str) -> tuple[str, np.ndarray]:
    """Cut a line from its end: GloVe's words may have spaces in them."""
    mark = next((mark for mark in ("\t", ",", ";") if mark in line), "")
    if not width and mark:
        raise UserError(
            f"{where}: {_shown(line)} has no spaces: a word and its numbers are parted "
            f"by one, and these seem to be by {mark!r}."
        )
    word, *fields = line.rsplit(" ", width) if width else [line]
    beyond = word.split(" ")
    while len(beyond) > 1 and _is_number(beyond[-1]):
        fields.append(beyond.pop())
    if len(fields) != width or not width:
        raise UserError(
            f"{where}: {len(fields)} numbers, where the file has vectors of {width}."
        )
    try:
        vector = np.array(fields, np.float32)
    except ValueError as error:
        raise UserError(f"{where}: {_shown(line)} is no word and numbers.") from error
    if not word or not np.isfinite(vector).all():
        raise UserError(f"{where}: {_shown(line)} is no word and finite numbers.")
    return word, vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}...")


def _twice(words: Sequence[str]) -> str:
    first: dict[str, int] = {}
    return next(word for i, word in enumerate(words) if first.setdefault(word, i) < i)
