"""Words between white space, as classical language modelling counts them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from lm_jax.errors import UserError
from lm_jax.text.splitting import size_of
from lm_jax.tokenizers.distinct import Distinct, distinct, groups
from lm_jax.tokenizers.threads import cores, in_order
from lm_jax.tokenizers.trained import (
    END_OF_DOCUMENT,
    UNKNOWN,
    Canonical,
    Ids,
    boundary_ids,
)

END_OF_SENTENCE = "<eos>"
# A word of the text that is written as one of these has a backslash before it in the
# vocabulary, and one more for each that it has itself: so it is another word.
_NAMES = f"(?:{re.escape(END_OF_SENTENCE)}|{re.escape(END_OF_DOCUMENT)})"
_WRITTEN = re.compile(rf"(?<!\S)(?=\\*{_NAMES}(?!\S))")
_KEPT = re.compile(rf"\\\\*{_NAMES}")
# White space that Arrow doesn't cut at.
_BLANKS = (
    "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

# More are not kept busy by one that reads.
_THREADS = 4


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

        def cut(group: list[str]) -> Distinct:
            return distinct([_ready(text, self.lowercase) for text in group])

        for found in in_order(cut, groups(texts), min(cores(), _THREADS)):
            for word, count in zip(found.words, found.counts().tolist(), strict=True):
                counts[word] += count
        del counts[""]  # the word of a text that has none
        special = [UNKNOWN] * (UNKNOWN not in counts) + [END_OF_DOCUMENT] * end
        words = sorted(counts, key=lambda word: (-counts[word], word))
        if self.size is not None:
            words = words[: max(self.size - len(special), 0)]
            if UNKNOWN in counts and UNKNOWN not in words:
                words[-1:] = [UNKNOWN]
        return WordTokenizer((*words, *special), self.lowercase, end)


def _ready(text: str, lowercase: bool) -> str:
    """Write line ends as words, and all white space as ASCII has it."""
    if lowercase:
        text = text.lower()
    for blank in _BLANKS[:4] if text.isascii() else _BLANKS:
        if blank in text:
            text = text.replace(blank, " ")
    if END_OF_SENTENCE in text or END_OF_DOCUMENT in text:
        text = _WRITTEN.sub(r"\\", text)
    return text.replace("\n", f" {END_OF_SENTENCE} ")


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
    around = None
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
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        """Give the ids of each text."""
        found = distinct([_ready(text, self.lowercase) for text in texts])
        known, unknown = self._id_of_word, self.unknown_id
        ids = np.array([known.get(w, unknown) for w in found.words], np.int32)
        return np.split(ids[found.places], np.cumsum(found.lengths)[:-1])

    def canonical(self, text: str) -> str:
        """Give the words of a text with one space between them, and its line ends."""
        lines = (text.lower() if self.lowercase else text).split("\n")
        return "\n".join(" ".join(line.split()) for line in lines)

    def canonical_of(
        self, ids: Integer[np.ndarray, " tokens"], ends: list[int], lost: list[str]
    ) -> Canonical | None:
        """Measure `canonical` of documents by their ids alone.

        Args:
            ids: of all, the end of each included.
            ends: where in `ids` each ends; the last may go on.
            lost: what became <unk>, which a text may spell too.

        Returns:
            None where a line end is among them.
        """
        if "\n" in lost:
            return None
        word = self._is_word[ids]
        spaces = word[:-1] & word[1:]
        spaces[[end - 1 for end in ends if 0 < end < len(ids)]] = False
        spelled = int(np.count_nonzero(ids == self.unknown_id)) - len(lost)
        size = int(self._sizes[ids].sum()) + int(np.count_nonzero(spaces))
        size += len(UNKNOWN) * spelled + sum(map(size_of, lost))
        begins = len(ids) > 0 and ends[:1] != [0] and bool(word[0])
        goes_on = len(ids) > max(ends, default=0) and bool(word[-1])
        return Canonical(size, begins, goes_on)

    @cached_property
    def _is_word(self) -> Bool[np.ndarray, " vocab"]:
        word = np.ones(self.vocab_size, bool)
        word[list(boundary_ids(self))] = False
        return word

    @cached_property
    def _sizes(self) -> Int64[np.ndarray, " vocab"]:
        """The bytes of each word as it stands in a text; none of <unk> and the end."""
        written = (size_of(as_written(word)) for word in self.words)
        sizes = np.fromiter(written, np.int64, self.vocab_size)
        sizes[self.unknown_id] = 0
        if self.end:
            sizes[-1] = 0
        return sizes

    def unspelled(self, text: str) -> list[str]:
        """Give the words that become <unk>, and line ends where none was trained on.

        An <unk> that the text itself spells is a word like others.
        """
        words, places, _ = distinct([_ready(text, self.lowercase)])
        lost = np.array([word not in self._id_of_word for word in words], bool)
        return [as_written(words[i]) for i in places[lost[places]].tolist()]

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
