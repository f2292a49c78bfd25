"""Conversations, packed into rows: only what the assistant says is predicted."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import grain
import numpy as np
from jaxtyping import Int32

from lm_jax.data.answers import uncounted
from lm_jax.data.packing import packed_fields
from lm_jax.data.prepared import Prepared, check_context
from lm_jax.data.randomness import endless
from lm_jax.data.template import NAMED_TURNS, Marked, Template
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Row, Windows
from lm_jax.errors import UserError
from lm_jax.text import Conversation, Corpus, Talks, find_conversations
from lm_jax.text.found import Text
from lm_jax.text.splitting import Piece
from lm_jax.tokenizers import Subwords, Tokenizer, Trained


@dataclass(frozen=True)
class Conversations:
    """Conversations as a template writes them: the assistant's turns are predicted.

    What is predicted is each answer and what ends it, as the template's spans have
    them; what asks for one has the same tokens. Whole conversations share a row, each
    is seen alone ("segments", "positions"), and the same ones stand together in every
    epoch. Of one that is longer than a row the beginning is read.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "targets",
        "mask",
        "segments",
        "positions",
    )

    corpus: Corpus = Corpus("dailydialog")
    """The conversations: a known corpus, or jsonl files whose column holds lists of
    {"role", "content"}, by "system", "user" or "assistant"."""
    tokenizer: Tokenizer = Subwords()
    template: Template = NAMED_TURNS
    """How turns are written, in training and when somebody asks."""
    context: int = 256
    """Tokens of a row."""

    def __post_init__(self) -> None:
        """Refuse a context without tokens."""
        check_context(self.context)

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and write the turns, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the template, the tokenizer's
                size or the space on disk; no answer fits into a row.
        """
        talks = find_conversations(self.corpus, cache)
        text = _text(talks, self.template)
        made = tokenize([text], self.tokenizer, True, cache, progress)
        of = {
            split: _pack(split, found, self.template, made.tokenizer, self.context)
            for split, found in talks.splits.items()
        }

        def train(seed: int, batch: int) -> grain.MapDataset:
            rows = of["train"]
            return endless(len(rows.rows), seed, "order", lambda _, i: rows.row(i))

        def windows(split: str, batch: int) -> Windows:
            return Windows(len(of[split].rows), of[split].row, batch)

        def asked(source: Any, length: int) -> Int32[np.ndarray, " tokens"]:
            ids = self.template.ids(source.turns, made.tokenizer)
            return ids[-max(1, self.context + 1 - length) :]

        return Prepared(
            tokenizer=made.tokenizer,
            # Bits per byte are of a whole text, and questions are not predicted.
            splits={split: uncounted(t) for split, t in made.splits.items()},
            statement="\n".join([made.statement, *_told(of)]),
            digest=made.digest,
            text=talks.digest[:20],
            context=self.context,
            fields=packed_fields(self.context),
            examples=lambda batch: len(of["train"].rows),
            train=train,
            windows=windows,
            pairs=_pairs(talks),
            asked=asked,
            stops=self.template.stops,
        )


def _text(talks: Talks, template: Template) -> Text:
    """Give each conversation as a document, for a tokenizer to learn from."""

    def pieces() -> Iterator[Piece]:
        for split, found in talks.splits.items():
            for talk in found:
                yield Piece(split, "\n".join(template.parts(talk.turns)), True)

    digest = sha256(f"{template.source}\n{talks.digest}".encode()).hexdigest()
    return Text(digest, talks.statement, True, talks.bytes, pieces, lambda: iter(()))


def _pairs(talks: Talks) -> Callable[[str], Iterator[tuple[Any, str]]]:
    """Give what yields the turns before each answer of a split, and the answer."""

    def pairs(split: str) -> Iterator[tuple[Conversation, str]]:
        for talk in talks.splits[split]:
            for k, turn in enumerate(talk.turns):
                if turn.role == "assistant":
                    yield Conversation(talk.turns[:k]), turn.content

    return pairs


@dataclass(frozen=True)
class _Packed:
    """The rows of a split.

    Attributes:
        talks: the tokens of conversations, no longer than a row and its last target.
        rows: the conversations of each.
        context: tokens of a row.
        cut: how many conversations lost their end.
    """

    talks: list[Marked]
    rows: list[list[int]]
    context: int
    cut: int

    def row(self, index: int) -> Row:
        """Give the arrays of a row, padded by zeros."""
        talks = [self.talks[k] for k in self.rows[index]]
        sizes = [len(talk.ids) - 1 for talk in talks]
        arrays = {
            "inputs": np.concatenate([talk.ids[:-1] for talk in talks]),
            "targets": np.concatenate([talk.ids[1:] for talk in talks]),
            "mask": np.concatenate([talk.answers[1:] for talk in talks]).astype("f4"),
            "segments": np.repeat(np.arange(1, len(talks) + 1, dtype=np.int32), sizes),
            "positions": np.concatenate([np.arange(n, dtype=np.int32) for n in sizes]),
        }
        missing = self.context - sum(sizes)
        return {name: np.pad(array, (0, missing)) for name, array in arrays.items()}


def _pack(
    split: str,
    talks: list[Conversation],
    template: Template,
    tokenizer: Trained,
    context: int,
) -> _Packed:
    """Write the conversations of a split, and lay them into rows.

    Raises:
        UserError: no answer of the split fits.
    """
    found, cut = [], 0
    for talk in talks:
        ids, answers = template.marked(talk.turns, tokenizer)
        # Nothing is predicted after the last answer.
        end = int(np.flatnonzero(answers)[-1]) + 1
        short = Marked(ids[: min(end, context + 1)], answers[: min(end, context + 1)])
        cut += end > context + 1
        if short.answers[1:].any():
            found.append(short)
    if not found:
        raise UserError(
            f"No answer of the split '{split}' begins within {context} tokens "
            "(data.context)."
        )
    rows = filled([len(talk.ids) - 1 for talk in found], context)
    return _Packed(found, rows, context, cut)


def filled(sizes: list[int], room: int) -> list[list[int]]:
    """Lay things into rows, each where the least is left: the largest first.

    Best fit, decreasing (Johnson et al. 1974).

    Args:
        sizes: of the things, each at most the room.
        room: of a row.

    Returns:
        The numbers of the things of each row.
    """
    rows: list[list[int]] = []
    left: dict[int, list[int]] = {}  # rows by the room that is left in them
    for thing in sorted(range(len(sizes)), key=lambda k: -sizes[k]):
        size = sizes[thing]
        least = next((n for n in range(size, room) if left.get(n)), None)
        if least is None:
            least, row = room, len(rows)
            rows.append([])
        else:
            row = left[least].pop()
        rows[row].append(thing)
        left.setdefault(least - size, []).append(row)
    return rows


def _told(of: Mapping[str, _Packed]) -> Iterator[str]:
    """Say how rows are filled, how much is predicted, and what is cut."""
    for split, packed in of.items():
        read = sum(len(talk.ids) - 1 for talk in packed.talks)
        learnt = sum(int(talk.answers[1:].sum()) for talk in packed.talks)
        share = read / (len(packed.rows) * packed.context)
        yield (
            f"{split}: {len(packed.rows):,} rows of {packed.context} tokens, "
            f"{share:.1%} filled; {learnt:,} tokens of answers are predicted."
        )
    if any(packed.cut for packed in of.values()):
        cut = ", ".join(f"{packed.cut:,} of {split}" for split, packed in of.items())
        yield f"Conversations that lose their end: {cut}."
