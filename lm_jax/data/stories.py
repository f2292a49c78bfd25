"""Stories with questions in between: rows of sentences, stories side by side."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import ClassVar, NamedTuple

import grain
import numpy as np
from jaxtyping import Int32

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.fields import Field, mask, segments
from lm_jax.data.pieces import spaced
from lm_jax.data.prepared import Prepared
from lm_jax.data.randomness import endless
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus
from lm_jax.text.babi import Story
from lm_jax.text.stories import find_stories
from lm_jax.tokenizers import Tokenizer, Trained, Words


@dataclass(frozen=True)
class Stories:
    """Stories in the form of bAbI's: each question is answered by one token.

    A row has whole stories side by side, each seen alone, and no more padding than
    what no story fits into. A sentence sees those before it, earlier questions too,
    but no answer. A story that is longer than a row is cut: each question is asked
    once, after half a row of sentences or more. Stories stay whole in one split.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "sentences",
        "targets",
        "mask",
        "segments",
        "positions",
    )

    corpus: Corpus = Corpus("babi")
    """The stories: a known corpus, or files of bAbI's form that are named after their
    task and split, as qa1_single_train.txt."""
    tokenizer: Tokenizer = Words(lowercase=True)
    sentences: int = within(SIZES, 64)
    """Sentences and questions of a row."""
    words: int = within(SIZES, 12)
    """Tokens of a sentence; of a longer one its last are read."""

    def __post_init__(self) -> None:
        """Refuse sizes that hold nothing."""
        check(self, "data")

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer, encode and pack.

        Raises:
            UserError: whatever is wrong with the files, the tokenizer's size or the
                space on disk; an answer has not one token; a split asks nothing.
        """
        found = find_stories(self.corpus, cache)
        made = tokenize([found.as_text(spaced)], self.tokenizer, True, cache, progress)
        of = {
            split: _packed(stories, made.tokenizer, self.sentences, self.words)
            for split, stories in found.splits.items()
        }

        def train(seed: int, batch: int) -> grain.MapDataset:
            rows = of["train"]
            return endless(len(rows.rows), seed, "order", lambda _, i: rows.row(i))

        def windows(split: str, batch: int) -> Windows:
            return Windows(len(of[split].rows), of[split].row, batch)

        digest = sha256(f"{self.sentences} {self.words} {made.digest}".encode())
        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *_said(of)]),
            digest=digest.hexdigest()[:20],
            text=made.text,
            context=self.sentences,
            fields=story_fields(self.sentences, self.words),
            examples=lambda batch: len(of["train"].rows),
            train=train,
            windows=windows,
            kinds={split: rows.kinds() for split, rows in of.items()},
        )


def story_fields(sentences: int, words: int) -> tuple[Field, ...]:
    """Give the fields of rows of stories."""
    each = (sentences,)
    return (
        Field(
            "sentences",
            (sentences, words),
            "int32",
            "the tokens of each sentence, -1 after its last",
        ),
        Field("targets", each, "int32", "the token that answers each question"),
        mask(sentences),
        segments(sentences),
        Field("positions", each, "int32", "where each sentence stands in its story"),
    )


class _Part(NamedTuple):
    """A story, or a part of a long one.

    Attributes:
        task: what is asked for.
        sentences: -1 after the last token of each.
        answers: the token that answers each sentence that is asked; -1 of others.
    """

    task: str
    sentences: Int32[np.ndarray, "sentences words"]
    answers: Int32[np.ndarray, " sentences"]


@dataclass(frozen=True)
class _Packed:
    """The rows of a split: the numbers of the parts that each has.

    Attributes:
        parts: stories, and parts of long ones.
        rows: the parts of each.
        sentences: of a row.
        cut: how many stories, and how many sentences, are longer than what is read.
    """

    parts: Sequence[_Part]
    rows: Sequence[Sequence[int]]
    sentences: int
    cut: tuple[int, int] = (0, 0)

    def row(self, number: int) -> Row:
        """Give the arrays of a row, padded at its end."""
        parts = [self.parts[i] for i in self.rows[number]]
        sizes = [len(part.answers) for part in parts]
        told = np.concatenate([part.sentences for part in parts])
        answers = np.concatenate([part.answers for part in parts])
        missing = (0, self.sentences - len(answers))
        numbers = np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), sizes)
        places = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        return {
            "sentences": np.pad(told, (missing, (0, 0)), constant_values=-1),
            "targets": np.pad(np.maximum(answers, 0), missing),
            "mask": np.pad((answers >= 0).astype(np.float32), missing),
            "segments": np.pad(numbers, missing),
            "positions": np.pad(places, missing),
        }

    def kinds(self) -> list[list[str]]:
        """Give the task of each question of each row, in their order."""
        return [
            [
                self.parts[i].task
                for i in numbers
                for _ in range(int((self.parts[i].answers >= 0).sum()))
            ]
            for numbers in self.rows
        ]


def _said(of: Mapping[str, _Packed]) -> Iterator[str]:
    """Say how many rows there are, and how full."""
    for split, packed_ in of.items():
        used = sum(len(part.answers) for part in packed_.parts)
        share = used / (len(packed_.rows) * packed_.sentences)
        yield f"{split}: {len(packed_.rows):,} rows, {share:.1%} of them sentences."
        stories, long = packed_.cut
        if stories:
            yield (
                f"{stories:,} stories of {split} are cut to {packed_.sentences} "
                "sentences."
            )
        if long:
            yield f"{long:,} sentences of {split} are cut to their last tokens."


def _packed(
    stories: Sequence[Story], tokenizer: Trained, sentences: int, words: int
) -> _Packed:
    """Encode the stories of a split and pack them.

    Raises:
        UserError: an answer has not one token, or nothing is asked.
    """
    encoded = [_encoded(story, tokenizer, words) for story in stories]
    parts = list(chain.from_iterable(cut_story(each, sentences) for each, _ in encoded))
    if not parts:
        raise UserError(
            "No story of a split has a question: there is nothing to learn. The answer "
            "stands behind its question, after a tab."
        )
    rows = packed([len(part.answers) for part in parts], sentences)
    longer = sum(len(each.answers) > sentences for each, _ in encoded)
    return _Packed(parts, rows, sentences, (longer, sum(cut for _, cut in encoded)))


def _encoded(story: Story, tokenizer: Trained, words: int) -> tuple[_Part, int]:
    """Encode a story; count its sentences that are longer than so many tokens."""
    cut = 0
    sentences = np.full((len(story.lines), words), -1, np.int32)
    answers = np.full(len(story.lines), -1, np.int32)
    for place, line in enumerate(story.lines):
        ids = tokenizer.encode(spaced(line.text))
        cut += len(ids) > words
        ids = ids[-words:]
        sentences[place, : len(ids)] = ids
        if line.answer is not None:
            found = tokenizer.encode(line.answer)
            if len(found) != 1:
                raise UserError(
                    f"The answer {line.answer!r} to {line.text!r} of {story.task} has "
                    f"{len(found)} tokens, and Stories learns answers of one. Use "
                    "Words(), and answers without blanks."
                )
            answers[place] = found[0]
    return _Part(story.task, sentences, answers), cut


def cut_story(story: _Part, longest: int) -> Iterator[_Part]:
    """Cut a story into parts of at most so many sentences; each question is in one.

    A part that begins within a story has half of its sentences or more before the
    first that it is asked, or all of them.
    """
    asked = np.flatnonzero(story.answers >= 0)
    while len(asked):
        first = max(0, int(asked[0]) + 1 - max(1, longest // 2))
        first = 0 if asked[0] < longest else first
        stop = min(first + longest, len(story.answers))
        inside = asked[asked < stop]
        answers = np.full(stop - first, -1, np.int32)
        answers[inside - first] = story.answers[inside]
        yield _Part(story.task, story.sentences[first:stop], answers)
        asked = asked[asked >= stop]


def packed(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Put things into rows: the largest first, each where the least room is left.

    Args:
        sizes: of the things, at most the room.
        room: of a row.

    Returns:
        The numbers of the things of each row.
    """
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []  # room and number of rows, in order
    for thing in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        place = bisect_left(left, (sizes[thing], -1))
        space, row = left.pop(place) if place < len(left) else (room, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(thing)
        insort(left, (space - sizes[thing], row))
    return rows
