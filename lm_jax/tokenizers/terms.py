"""Words as search engines index them: of letters and digits, stemmed."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import index

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.platform import from_extra
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, UNKNOWN, Ids

_STOPWORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the "
    "their then there these they this to was will with"
)
STOPWORDS = frozenset(_STOPWORDS.split())
"""Those of Lucene's EnglishAnalyzer."""
_POSSESSIVE = re.compile("['\u2019]s$")
# Marks inside a word are of it (3.5, u.s.a), as in Unicode's rules for words (UAX 29).
_WORD = re.compile(r"\w+(?:['\u2019.]\w+|(?<=\d),(?=\d)\w+)*")


@dataclass(frozen=True)
class Terms:
    """One token per word, in lower case, as Lucene's EnglishAnalyzer has them.

    Words are letters and digits: marks are dropped, and so is a possessive 's. The
    stemmer is Porter's of 1980, as nltk has it: the extra `retrieval`.
    """

    stem: bool = True
    """Whether words become their stems: "flows" and "flowing" are "flow"."""
    stopwords: bool = False
    """Whether to keep 33 words that stand in most texts, such as "the"."""
    size: int | None = None
    """Number of tokens, the most frequent first; all where it is None."""

    def __post_init__(self) -> None:
        """Refuse a vocabulary that has no room for a word beside <unk>."""
        if self.size is not None and self.size < 3:
            raise UserError(
                f"Terms(size={self.size}): a vocabulary needs room for <unk>, an end "
                "and one word at least. Use size=3 or more."
            )

    def train(self, texts: Iterable[str], end: bool = False) -> "TermTokenizer":
        """Count the terms; keep the most frequent, equals in alphabetical order."""
        reader = TermTokenizer((), self.stem, self.stopwords, end)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(reader.terms(text))
        special = [UNKNOWN, *[END_OF_DOCUMENT] * end]
        words = sorted(counts, key=lambda word: (-counts[word], word))
        if self.size is not None:
            words = words[: self.size - len(special)]
        return TermTokenizer((*words, *special), self.stem, self.stopwords, end)


@dataclass(frozen=True)
class TermTokenizer:
    """A vocabulary of terms, <unk> among them."""

    words: tuple[str, ...]
    stem: bool
    stopwords: bool
    end: bool
    around = None
    joiner = " "

    def terms(self, text: str) -> list[str]:
        """Give the terms of a text, known or not."""
        words = _WORD.findall(text.lower())
        return [term for term in map(self._terms.__getitem__, words) if term]

    @cached_property
    def _terms(self) -> "_Terms":
        return _Terms(self.stopwords, _stemmer() if self.stem else None)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.words)

    @cached_property
    def _id_of_term(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @property
    def forgets(self) -> str:
        """Say what tokens don't tell of a text."""
        endings = ", the endings of words" * self.stem
        few = ", the most frequent words" * (not self.stopwords)
        return f"capitals, marks and white space{endings}{few}"

    @property
    def unknown_id(self) -> int:
        """Id of every term that is not in the vocabulary."""
        return self._id_of_term[UNKNOWN]

    @property
    def sentence_end_id(self) -> None:
        """Sentences are not marked."""

    @property
    def end_id(self) -> int | None:
        """Id of the end of a document."""
        return len(self.words) - 1 if self.end else None

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of the terms of a text."""
        terms = self.terms(text)
        ids = map(self._id_of_term.get, terms, repeat(self.unknown_id))
        return np.fromiter(ids, np.int32, len(terms))

    def canonical(self, text: str) -> str:
        """Give the terms of a text with one space between them."""
        return " ".join(self.terms(text))

    def unspelled(self, text: str) -> list[str]:
        """Give the terms that become <unk>."""
        return [term for term in self.terms(text) if term not in self._id_of_term]

    def decode(self, ids: Ids) -> str:
        """Join the terms by spaces."""
        return " ".join(self.words[i] for i in map(index, ids) if i != self.end_id)

    def symbols(self, ids: Ids) -> list[str]:
        """Give each term."""
        return [self.words[i] for i in ids]

    def spellings(self) -> list[bytes]:
        """Give each term after a space."""
        silent = (self.unknown_id, self.end_id)
        spelled = (f" {word}".encode() for word in self.words)
        return [b"" if i in silent else text for i, text in enumerate(spelled)]


class _Terms(dict[str, str]):
    """The term of each word that was met; "" is none."""

    def __init__(self, stopwords: bool, stem: Callable[[str], str] | None):
        self._stopwords, self._stem = stopwords, stem

    def __missing__(self, word: str) -> str:
        term = _POSSESSIVE.sub("", word)
        if term in STOPWORDS and not self._stopwords:
            term = ""
        # Words of one or two letters have no ending (Porter's own program).
        elif self._stem is not None and len(term) > 2:
            term = self._stem(term)
        self[word] = term
        return term


def _stemmer() -> Callable[[str], str]:
    try:
        from nltk.stem.porter import PorterStemmer
    except ImportError as error:
        raise UserError(
            f"Terms(stem=True) needs nltk: {from_extra('retrieval')} Or use "
            "Terms(stem=False)."
        ) from error
    return PorterStemmer(PorterStemmer.ORIGINAL_ALGORITHM).stem
