"""Where sentences end in tokens, and which of them are read together."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from lm_jax.data.tokens import Tokens
from lm_jax.tokenizers import Trained

_STOPS, _WIDE_STOPS = tuple(".!?"), tuple("。！？")


class Marks(NamedTuple):
    """What each token says of sentences.

    Attributes:
        stop: whether one ends with it, if white space follows.
        wide_stop: whether one ends with it, whatever follows.
        line: whether a line ends in it.
        spaced: whether white space stands before it, or is its beginning.
        open: whether its own end is white space.
    """

    stop: Bool[np.ndarray, " vocab"]
    wide_stop: Bool[np.ndarray, " vocab"]
    line: Bool[np.ndarray, " vocab"]
    spaced: Bool[np.ndarray, " vocab"]
    open: Bool[np.ndarray, " vocab"]


def marks_of(tokenizer: Trained) -> Marks:
    """Look at the text of each token."""
    texts = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    ends = [text.rstrip() for text in texts]
    line = np.array(["\n" in text for text in texts])
    if tokenizer.sentence_end_id is not None:
        line[tokenizer.sentence_end_id] = True
    return Marks(
        stop=np.array([end.endswith(_STOPS) for end in ends]),
        wide_stop=np.array([end.endswith(_WIDE_STOPS) for end in ends]),
        line=line,
        spaced=np.array([bool(tokenizer.joiner) or t[:1].isspace() for t in texts]),
        open=np.array([text[-1:].isspace() for text in texts]),
    )


class Sentences(NamedTuple):
    """The sentences of a split, in their order."""

    starts: Int64[np.ndarray, " sentences"]
    """The first token of each."""
    stops: Int64[np.ndarray, " sentences"]
    """The token after the last of each."""
    documents: Int64[np.ndarray, " sentences"]
    """The document of each."""


def sentences_of(tokens: Tokens, marks: Marks, end_id: int | None) -> Sentences:
    """Cut documents into sentences.

    A sentence ends at a line end, after . ! or ? before white space, and after 。！？.
    The token that ends a document is in none.

    Args:
        tokens: of a split.
        marks: of its tokenizer.
        end_id: of the token that ends documents.
    """
    ids, bounds = np.asarray(tokens.ids), np.asarray(tokens.documents)
    after = np.append(ids[1:], ids[-1:])
    stops = marks.wide_stop[ids]
    stops |= marks.stop[ids] & (marks.open[ids] | marks.spaced[after])
    # What closes a line ends with the last of its line ends.
    stops = (stops | marks.line[ids]) & ~marks.line[after]
    lasts = bounds[1:] - 1
    lasts = lasts[np.diff(bounds) > 0]
    ended = ids[lasts] == end_id
    stops[lasts] = ~ended
    stops[lasts[ended] - 1] = True
    text = np.ones(len(ids), bool)
    text[lasts[ended]] = False
    found = np.flatnonzero(stops & text) + 1
    document = np.searchsorted(bounds, found - 1, "right") - 1
    starts = np.maximum(np.append([0], found[:-1]), bounds[document])
    return Sentences(starts, found, document)


def passages_of(
    sizes: Integer[np.ndarray, " sentences"],
    documents: Integer[np.ndarray, " sentences"],
    room: int,
) -> Int64[np.ndarray, "passages 2"]:
    """Put sentences together: of each passage the first, and that after its last.

    Each is in one passage, but those of documents of one sentence. A passage has two
    sentences or more of one document; it fills the room, and is larger where two
    sentences are.

    Args:
        sizes: tokens of each sentence.
        documents: of each, in order.
        room: tokens of a passage.
    """
    edges = np.flatnonzero(np.diff(documents, prepend=-1, append=-1))
    found: list[tuple[int, int]] = []
    for first, last in pairwise(edges.tolist()):
        if last - first > 1:
            found += _filled(sizes, first, last, room)
    return np.array(found, np.int64).reshape(-1, 2)


def _filled(
    sizes: Integer[np.ndarray, " sentences"], first: int, last: int, room: int
) -> list[tuple[int, int]]:
    """Give the passages of the sentences of one document."""
    begins, total = [first], 0
    for sentence in range(first, last):
        total += int(sizes[sentence])
        if total > room and sentence - begins[-1] >= 2:
            begins.append(sentence)
            total = int(sizes[sentence])
    if len(begins) > 1 and last - begins[-1] == 1:
        # No sentence is left alone: it goes with the one before it, or with both.
        enough = begins[-1] - begins[-2] > 2
        begins[-1:] = [begins[-1] - 1] if enough else []
    return list(pairwise([*begins, last]))
