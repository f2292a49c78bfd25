"""Words between white space, as classical language modelling counts them."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import index

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, UNKNOWN, Ids

END_OF_SENTENCE = "<eos>"
# A word of the text that is written as one of these has a backslash before it in the
# vocabulary, and one more for each that it has itself: so it is another word.
_NAMES = f"(?:{re.escape(END_OF_SENTENCE)}|{re.escape(END_OF_DOCUMENT)})"
_WRITTEN = re.compile(rf"(?<!\S)(?=\\*{_NAMES}(?!\S))")
_KEPT = re.compile(rf"\\\\*{_NAMES}")


@dataclass(frozen=True)
class Words:
    """One token per word between white space; a line end is the token <eos>."""

    size: int | None = None
    """Number of tokens, the most frequent first; all words where it is None."""
    lowercase: bool = False
    """Write every word in lower case first."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary that has no room for a word beside <unk>."""
        if self.size is not None and self.size < 2:
            raise UserError(
                f"Words(size={self.size}): a vocabulary needs room for <unk> and "
                "one word at least. Use size=2 or more."
            )

    def train(self, texts: Iterable[str], end: bool = False) -> "WordTokenizer":
        """Count the words; keep the most frequent, equals in alphabetical order.

        The size counts <unk>, which is the corpus's own where it spells it, and
        the end of a document.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_words(text, self.lowercase))
        special = [UNKNOWN] * (UNKNOWN not in counts) + [END_OF_DOCUMENT] * end
        words = sorted(counts, key=lambda word: (-counts[word], word))
        if self.size is not None:
            words = words[: max(self.size - len(special), 0)]
            if UNKNOWN in counts and UNKNOWN not in words:
                words[-1:] = [UNKNOWN]
        return WordTokenizer((*words, *special), self.lowercase, end)


def _words(text: str, lowercase: bool) -> list[str]:
    if lowercase:
        text = text.lower()
    if END_OF_SENTENCE in text or END_OF_DOCUMENT in text:
        text = _WRITTEN.sub(r"\\", text)
    return text.replace("\n", f" {END_OF_SENTENCE} ").split()


def as_token(word: str) -> str:
    """Give the name that a word of a text has in a vocabulary."""
    return _WRITTEN.sub(r"\\", word)


def as_written(word: str) -> str:
    """Give what stands in the text for a word of the vocabulary."""
    if word == END_OF_SENTENCE:
        return "\n"
    return word[1:] if _KEPT.fullmatch(word) else word


@dataclass(frozen=True)
class WordTokenizer:
    """A vocabulary of words, <unk> among them.

    A line end is <eos>; a text that spells "<eos>" or "<|end|>" has a word of its own,
    "\\<eos>" in the vocabulary.
    """

    words: tuple[str, ...]
    lowercase: bool
    end: bool
    joiner = " "

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.words)

    @cached_property
    def _id_of_word(self) -> dict[str, int]:
        # No text spells the end of a document, which comes last.
        spelled = self.words[: self.end_id]
        return {word: i for i, word in enumerate(spelled)}

    @property
    def forgets(self) -> str:
        """Say what tokens don't tell of a text."""
        capitals = "capitals, and " * self.lowercase
        return f"{capitals}all white space but line ends and one space between words"

    @property
    def unknown_id(self) -> int:
        """Id of every word that is not in the vocabulary."""
        return self._id_of_word[UNKNOWN]

    @property
    def sentence_end_id(self) -> int | None:
        """Id of the line end, None where no line of the training text ended."""
        return self._id_of_word.get(END_OF_SENTENCE)

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document."""
        return len(self.words) - 1 if self.end else None

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of the words and line ends of a text."""
        words = _words(text, self.lowercase)
        ids = map(self._id_of_word.get, words, repeat(self.unknown_id))
        return np.fromiter(ids, np.int32, len(words))

    def canonical(self, text: str) -> str:
        """Give the words of a text with one space between them, and its line ends."""
        lines = (text.lower() if self.lowercase else text).split("\n")
        return "\n".join(" ".join(line.split()) for line in lines)

    def unspelled(self, text: str) -> list[str]:
        """Give the words that become <unk>, and line ends where none was trained on.

        An <unk> that the text itself spells is a word like others.
        """
        known = self._id_of_word
        words = _words(text, self.lowercase)
        return [as_written(word) for word in words if word not in known]

    def decode(self, ids: Ids) -> str:
        """Join the words by spaces; <eos> becomes a line end."""
        words = [self.words[i] for i in map(index, ids) if i != self.end_id]
        text = " ".join(map(as_written, words))
        return text.replace(" \n", "\n").replace("\n ", "\n")

    def symbols(self, ids: Ids) -> list[str]:
        """Give each word."""
        return [self.words[i] for i in ids]

    def spellings(self) -> list[bytes]:
        """Give each word after a space; line ends, which take none, spell nothing."""
        silent = (self.unknown_id, self.sentence_end_id, self.end_id)
        spelled = (f" {as_written(word)}".encode() for word in self.words)
        return [b"" if i in silent else text for i, text in enumerate(spelled)]
