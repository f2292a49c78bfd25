"""Prompts with answers: what a decoder learns to say, and what it is to prefer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int32, Int64

from lm_jax.data.examples import check_lengths, read_examples
from lm_jax.data.fields import Field, inputs, mask, targets
from lm_jax.data.order import Buckets, bucket_windows, sort_by_length
from lm_jax.data.prepared import Prepared
from lm_jax.data.template import Template, answer_template
from lm_jax.data.text_pairs import raw_pairs
from lm_jax.data.tokens import Progress, Tokens
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find_pairs
from lm_jax.tokenizers import Characters, Tokenizer, Trained
from lm_jax.tokenizers.chunks import Coded
from lm_jax.tokenizers.trained import beginning


@dataclass(frozen=True)
class Answers:
    """Prompts, each with its answer: only the answer and its end are predicted.

    A row reads the end of a document, the prompt, what stands ``between``, and the
    answer. It is padded to the shortest of `lengths` that it fits. Where it is longer
    than the longest, the answer keeps half of the row at least: the prompt loses its
    beginning, the answer its end.
    """

    gives: ClassVar[tuple[str, ...]] = ("inputs", "targets", "mask")

    corpus: Corpus
    """The table, whose column is that of the prompts; or a corpus of pairs."""
    tokenizer: Tokenizer = Characters()
    answer: str = "answer"
    """Column of the answers; "" where the corpus itself is pairs, as summaries are, or
    questions on passages: then a prompt is a passage and, on another line, the
    question."""
    between: str = "\n"
    """What parts a prompt from its answer; a prompt that is continued ends in it."""
    lengths: tuple[int, ...] = (64, 128, 256)
    """Tokens of a row, the shortest first."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, or hold no token."""
        check_lengths(self.lengths)

    @property
    def template(self) -> Template:
        """Give what writes a conversation as these rows are written."""
        return answer_template(self.between)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size or the
                space on disk; a row without a prompt or an answer.
        """
        return _prepared(self, (self.answer,), answer_fields(), cache, progress)


@dataclass(frozen=True)
class AnswerPairs:
    """Prompts, each with an answer that is preferred to another; see `Answers`."""

    gives: ClassVar[tuple[str, ...]] = ("pair_inputs", "pair_targets", "pair_mask")

    corpus: Corpus
    """The table; its column is that of the prompts."""
    tokenizer: Tokenizer = Characters()
    chosen: str = "chosen"
    """Column of the answers that are preferred."""
    rejected: str = "rejected"
    """Column of the others."""
    between: str = "\n"
    """What parts a prompt from its answer."""
    lengths: tuple[int, ...] = (64, 128, 256)
    """Tokens of a row, the shortest first."""

    def __post_init__(self) -> None:
        """Refuse lengths that don't grow, or hold no token."""
        check_lengths(self.lengths)

    @property
    def template(self) -> Template:
        """Give what writes a conversation as these rows are written."""
        return answer_template(self.between)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and tokenize, or find what is in the cache.

        Raises:
            UserError: as `Answers.prepare`.
        """
        both = self.chosen, self.rejected
        return _prepared(self, both, pair_fields(), cache, progress)


def answer_fields() -> tuple[Field, ...]:
    """Give the fields of prompts with an answer."""
    return inputs("length"), targets("length"), mask("length")


def pair_fields() -> tuple[Field, ...]:
    """Give the fields of prompts with two answers: what those of one have, twice."""
    of = "of a prompt with each of two answers, the preferred one first"
    return tuple(
        Field(
            f"pair_{each.name}", (2, *each.shape), each.dtype, f"{each.meaning}, {of}"
        )
        for each in answer_fields()
    )


def _prepared(
    data: Answers | AnswerPairs,
    answers: tuple[str, ...],
    fields: tuple[Field, ...],
    cache: Path,
    progress: Progress | None,
) -> Prepared:
    text = find_pairs(data.corpus, tuple(filter(None, answers)), cache, True)
    if text.together != 1 + len(answers):
        raise UserError(
            f"{data.corpus.source} has no pairs. Name the column of the answers of a "
            "table (--data.answer NAME)."
        )
    made = read_examples(text, data.tokenizer, cache, progress)
    between = _encoded(data.between, made.tokenizer)
    of = {s: _Rows(t, len(answers), between) for s, t in made.splits.items()}

    def windows(split: str, batch: int) -> Windows:
        return bucket_windows(of[split].buckets(data.lengths), batch)

    def asked(source: Any, length: int) -> Int32[np.ndarray, " tokens"]:
        ids = made.tokenizer.encode(source)
        ids = np.concatenate([beginning(made.tokenizer), ids, between])
        of_prompt, _ = kept(len(ids), length, data.lengths[-1])
        return ids[len(ids) - of_prompt :]

    alone = len(answers) == 1
    same = [] if alone else list(_same(of, data.lengths[-1]))
    return Prepared(
        tokenizer=made.tokenizer,
        # Bits per byte are of a whole text, and prompts are not predicted.
        splits={s: uncounted(t) for s, t in made.splits.items()},
        statement="\n".join([made.statement, *_cut(of, data.lengths[-1]), *same]),
        digest=made.digest,
        text=made.text,
        context=data.lengths[-1],
        fields=fields,
        buckets=of["train"].buckets(data.lengths),
        windows=windows,
        pairs=raw_pairs(text) if alone else None,
        asked=asked if alone else None,
    )


def uncounted(tokens: Tokens) -> Tokens:
    """Take away what bits per byte are made of."""
    return replace(tokens, coded=Coded(read=tokens.coded.read))


def _encoded(between: str, tokenizer: Trained) -> Int32[np.ndarray, " tokens"]:
    try:
        return tokenizer.encode(between)
    except UserError as error:
        raise UserError(f"data.between={between!r}: {error}") from error


def _cut(of: Mapping[str, "_Rows"], longest: int) -> list[str]:
    """Say how many prompts and answers are cut; nothing where none is."""
    counts = {split: rows.cut(longest) for split, rows in of.items()}
    if not any(map(any, counts.values())):
        return []
    each = "; ".join(f"{p:,} and {a:,} of {split}" for split, (p, a) in counts.items())
    prompts, answers = map(sum, zip(*counts.values(), strict=True))
    return [
        f"{prompts:,} prompts lose their beginning and {answers:,} answers their end, "
        f"to fit into {longest} tokens: {each}."
    ]


def _same(of: Mapping[str, "_Rows"], longest: int) -> Iterator[str]:
    """Say how many pairs have one answer twice, so that none of them is better.

    Raises:
        UserError: all of a split have.
    """
    for split, rows in of.items():
        count, pairs = rows.same(longest), len(rows.sizes()[0])
        if count == pairs:
            raise UserError(
                f"Both answers of each pair of the split '{split}' are the same "
                f"within {longest} tokens: there is nothing to prefer (data.chosen, "
                "data.rejected, data.lengths)."
            )
        if count:
            yield (
                f"{count:,} of the {pairs:,} pairs of {split} have the same answer "
                "twice, as it is read: nothing is learnt of them."
            )


@dataclass(frozen=True)
class _Rows:
    """The rows of a split.

    Attributes:
        tokens: a prompt and its answers, row after row, an end after each.
        answers: of each prompt.
        between: tokens that follow each prompt.
    """

    tokens: Tokens
    answers: int
    between: Int32[np.ndarray, " tokens"]

    def sizes(self) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, "rows _"]]:
        """Give the tokens of each prompt, and of each of its answers.

        A prompt has the end before it, and what is between; an answer has its end.
        """
        each = np.diff(self.tokens.documents).reshape(-1, 1 + self.answers)
        return each[:, 0] + len(self.between), each[:, 1:]

    def cut(self, longest: int) -> tuple[int, int]:
        """Count the prompts and the answers that are cut."""
        prompts, answers = self.sizes()
        of_prompt, of_answer = kept(prompts, answers.max(1), longest)
        cut = np.sum(answers > of_answer[:, None])
        return int(np.sum(prompts > of_prompt)), int(cut)

    def same(self, longest: int) -> int:
        """Count the rows whose two answers are the same, as far as they are read."""
        prompts, answers = self.sizes()
        _, of_answer = kept(prompts, answers.max(1), longest)
        sizes = np.minimum(answers, of_answer[:, None])
        starts = np.asarray(self.tokens.documents)[:-1].reshape(-1, 3)[:, 1:]

        def read(row: int, which: int) -> np.ndarray:
            start = starts[row, which]
            return self.tokens.ids[start : start + sizes[row, which]]

        alike = np.flatnonzero(sizes[:, 0] == sizes[:, 1]).tolist()
        return sum(np.array_equal(read(row, 0), read(row, 1)) for row in alike)

    def buckets(self, lengths: tuple[int, ...]) -> Buckets:
        """Sort the rows by the lengths that they fit."""
        prompts, answers = self.sizes()
        found = sort_by_length(prompts + answers.max(1) - 1, lengths, self.row)
        of_prompt, of_answer = kept(prompts, answers.max(1), lengths[-1])
        read = np.minimum(answers, of_answer[:, None]) + of_prompt[:, None] - 1
        return replace(found, tokens=int(read.sum()))

    def row(self, example: int, length: int) -> Row:
        """Give the arrays of a row, padded by zeros."""
        first = example * (1 + self.answers)
        bounds = self.tokens.documents[first : first + self.answers + 2]
        prompt, *answers = np.split(
            self.tokens.ids[bounds[0] : bounds[-1]], (bounds[1:-1] - bounds[0])
        )
        # A prompt is read from the end of a document; its own end is that token.
        prompt = np.concatenate([prompt[-1:], prompt[:-1], self.between])
        longest = max(map(len, answers))
        of_prompt, of_answer = kept(len(prompt), longest, length)
        rows = [
            _row(prompt[len(prompt) - of_prompt :], answer[:of_answer], length)
            for answer in answers
        ]
        if self.answers == 1:
            return rows[0]
        return {f"pair_{name}": np.stack([r[name] for r in rows]) for name in rows[0]}


def kept(prompt: Any, answer: Any, length: int) -> tuple[Any, Any]:
    """Give how many tokens of a prompt and of its answer fit into a row.

    Args:
        prompt, answer: how many there are, numbers or arrays of them.
        length: tokens that a row reads: all but the last.
    """
    room = length + 1
    answer = np.minimum(answer, np.maximum(room - prompt, max(1, room // 2)))
    return np.minimum(prompt, room - answer), answer


def _row(prompt: np.ndarray, answer: np.ndarray, length: int) -> Row:
    ids = np.concatenate([prompt, answer]).astype(np.int32)
    missing = length + 1 - len(ids)
    answered = np.arange(1, len(ids)) >= len(prompt)
    arrays = {"inputs": ids[:-1], "targets": ids[1:], "mask": np.float32(answered)}
    return {name: np.pad(array, (0, missing)) for name, array in arrays.items()}
