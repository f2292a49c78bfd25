"""Words with a label each, in the form of CoNLL's files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.reading import blocks


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

    Lines that begin with -DOCSTART- are no sentences (Tjong Kim Sang and De Meulder
    2003).

    Raises:
        UserError: the file can't be read, or a line has no label.
    """
    words: list[str] = []
    labels: list[str] = []
    for number, line in enumerate("".join(blocks(path)).split("\n"), 1):
        fields = line.split()
        if fields and fields[0] != "-DOCSTART-":
            if len(fields) < 2:
                raise UserError(
                    f"{path}, line {number}: {line!r} is no word and label with white "
                    "space between."
                )
            words.append(fields[0])
            labels.append(fields[-1])
        elif words:
            yield Sentence(tuple(words), tuple(labels), path, number - len(words))
            words, labels = [], []
    if words:
        yield Sentence(tuple(words), tuple(labels), path, number + 1 - len(words))
