"""Words with a label each, in the form of CoNLL's files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.opening import suffix
from lm_jax.text.reading import blocks
from lm_jax.text.tables import READERS


class Sentence(NamedTuple):
    """The words of a sentence, the label of each, and the place of the first.

    Attributes:
        words, labels: one of each a line.
        path: the file.
        line: of the first word.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]
    path: Path
    line: int

    def place(self, word: int) -> str:
        """Say where the word of a number stands."""
        return f"{self.path}, line {self.line + word}"


def read_conll(path: Path) -> Iterator[Sentence]:
    """Read lines of a word, perhaps other columns, and a label; a blank line parts.

    Columns are parted by tabs where a line has one, else by white space. Lines that
    begin with -DOCSTART- are no sentences (Tjong Kim Sang and De Meulder 2003).

    Raises:
        UserError: the file can't be read, a line has no label or not as many columns
            as the first, or words are numbered.
    """
    first: tuple[int, int] | None = None  # the line that tells how many columns
    words: list[str] = []
    labels: list[str] = []
    for number, line in enumerate("".join(blocks(path)).split("\n"), 1):
        fields = _fields(line)
        if fields and fields[0] != "-DOCSTART-":
            first = first or (number, len(fields))
            _check(fields, first, line, f"{path}, line {number}")
            words.append(fields[0])
            labels.append(fields[-1])
        elif words:
            yield _sentence(words, labels, path, number - len(words))
            words, labels = [], []
    if words:
        yield _sentence(words, labels, path, number + 1 - len(words))


def check_no_table(path: Path) -> None:
    """Refuse a file that is a table by its name.

    Raises:
        UserError: saying what labelled words look like.
    """
    if suffix(path) in READERS and suffix(path) != ".tsv":
        raise UserError(
            f"{path} is a table by its name, and labelled words stand one a line: a "
            "word, white space and its label, with a blank line after each sentence."
        )


def _fields(line: str) -> list[str]:
    """The columns of a line: a word may have a space in it where tabs part them."""
    if "\t" not in line.strip():
        return line.split()
    return [field.strip() for field in line.rstrip().split("\t")]


def _check(fields: list[str], first: tuple[int, int], line: str, place: str) -> None:
    if len(fields) < 2 or not fields[0]:
        raise UserError(
            f"{place}: {line!r} is no word and label with white space between."
        )
    if len(fields) != first[1]:
        raise UserError(
            f"{place}: {line!r} has {len(fields)} columns, and line {first[0]} has "
            f"{first[1]}: the last is the label, whatever stands before it. Take out "
            "comments; where a word has spaces, part the columns by tabs."
        )


def _sentence(words: list[str], labels: list[str], path: Path, line: int) -> Sentence:
    """A sentence, unless its words are numbers that count them, as CoNLL-U's are."""
    if len(words) > 1 and words == [str(k) for k, _ in enumerate(words, 1)]:
        raise UserError(
            f"{path}, line {line}: the first column counts the words, where the words "
            "should stand. Keep the column of words and that of labels (of CoNLL-U: "
            "grep -v '^#' FILE | cut -f 2,4)."
        )
    return Sentence(tuple(words), tuple(labels), path, line)
