"""Questions on passages: which part of a passage answers each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from lm_jax.bounds import SIZES, check, within
from lm_jax.data.examples import check_lengths
from lm_jax.data.fields import Field, inputs, segments
from lm_jax.data.order import bucket_windows
from lm_jax.data.pieces import Cutter, spaced
from lm_jax.data.prepared import Prepared
from lm_jax.data.questions import Questions, ask
from lm_jax.data.tokens import Progress, tokenize
from lm_jax.data.windows import Windows
from lm_jax.errors import UserError
from lm_jax.text import Asked, Corpus, find_questions
from lm_jax.text.found import Text
from lm_jax.text.splitting import Piece
from lm_jax.tokenizers import Tokenizer, Words


@dataclass(frozen=True)
class AnswerSpans:
    """Questions, each beside its passage: a part of it answers, or nothing does.

    Texts are cut into words, marks and single Chinese characters, and a tokenizer
    codes each alone. A row reads the end of a document, the question, that end again
    and the passage; with BERT's tokenizers [CLS], the question, [SEP], the passage and
    [SEP] (Devlin et al. 2019, 4.2). A passage that doesn't fit is read in windows, all
    of which have one prediction together. Articles are whole in one split.
    """

    gives: ClassVar[tuple[str, ...]] = (
        "inputs",
        "segments",
        "matches",
        "start",
        "end",
        "mask",
    )

    corpus: Corpus = Corpus("squad")
    """The questions: a known corpus, or files in SQuAD's form."""
    tokenizer: Tokenizer = Words()
    lengths: tuple[int, ...] = (128, 192, 256, 384)
    """Tokens of a row, the shortest first."""
    stride: int = within(SIZES, 128)
    """Tokens between the starts of two windows of one passage."""
    question: int = within(SIZES, 64)
    """Tokens of a question at most; what is more is cut off."""
    fold: int | None = within("[0, 1000]", 0)
    """Which part of the articles is the test split; None takes the corpus' own."""
    folds: int = within("[2, 1000]", 5)
    """In how many parts the articles are cut."""

    def __post_init__(self) -> None:
        """Refuse lengths that have no room, and a fold that is none."""
        check_lengths(self.lengths)
        check(self, "data")
        if self.fold is not None and self.fold >= self.folds:
            raise UserError(
                f"data.fold={self.fold}: the folds are 0 to {self.folds - 1} "
                "(data.folds)."
            )
        if self.lengths[-1] < self.question + 3:
            raise self._no_room()

    def _no_room(self) -> UserError:
        return UserError(
            f"data.lengths={self.lengths} have no room for a passage beside a question "
            f"of {self.question} tokens (data.question) and what stands around both."
        )

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Read, train the tokenizer and cut, or find what is in the cache.

        Raises:
            UserError: whatever is wrong with the corpus, the tokenizer's size or the
                space on disk; an answer that is not in its passage; a split without
                questions, or training without answers.
        """
        asked = find_questions(self.corpus, self.fold, self.folds, cache)
        made = tokenize([_text(asked)], self.tokenizer, True, cache, progress)
        end = made.tokenizer.end_id
        if end is None:
            raise UserError(
                "A question and its passage need a token between them, and this "
                "tokenizer has none that ends a document. Use Words(), Subwords() or "
                "Characters()."
            )
        around = made.tokenizer.around
        marks: tuple[int, ...] = (end, end)
        if around:
            marks = (around.first[0], around.end, around.end)
            if self.lengths[-1] <= self.question + len(marks):
                raise self._no_room()
        cut = Cutter(made.tokenizer)
        room = self.lengths[-1], self.question, self.stride
        of = {
            split: ask(passages, cut, marks, *room)
            for split, passages in asked.splits.items()
        }
        _check_asked(of)

        def windows(split: str, batch: int) -> Windows:
            return bucket_windows(of[split].buckets(self.lengths), batch)

        after = f"{marks[2:]}" if around else ""
        digest = sha256(f"{room}{after}\n{made.digest}".encode()).hexdigest()[:20]
        return Prepared(
            tokenizer=made.tokenizer,
            splits=made.splits,
            statement="\n".join([made.statement, *_told(of, self.question)]),
            digest=digest,
            text=made.text,
            context=self.lengths[-1],
            fields=span_fields(),
            buckets=of["train"].buckets(self.lengths),
            windows=windows,
            questions=of,
        )


def span_fields() -> tuple[Field, ...]:
    """Give the fields of questions beside windows of their passages."""
    what = "token of the answer; 0 where the window has none"
    same = "1 where a word of the passage stands in the question too"
    return (
        inputs("length"),
        segments("length"),
        Field("matches", ("length",), "int32", same),
        Field("start", (), "int32", f"the first {what}"),
        Field("end", (), "int32", f"the last {what}"),
        Field("mask", (), "float32", "1 where the loss counts, 0 where it doesn't"),
    )


def _text(asked: Asked) -> Text:
    """Give passages and questions, a document each, for a tokenizer to learn from."""

    def pieces() -> Iterator[Piece]:
        for split, passages in asked.splits.items():
            for passage in passages:
                for text in (passage.text, *(q.text for q in passage.questions)):
                    yield Piece(split, spaced(text), True)

    return Text(
        asked.digest, asked.statement, True, asked.bytes, pieces, lambda: iter(())
    )


def _check_asked(of: Mapping[str, Questions]) -> None:
    """See that each split asks something, and that training answers some of it.

    Raises:
        UserError: it doesn't: nothing would be learnt, and all would count as right.
    """
    for split, questions in of.items():
        if not questions.asked:
            raise UserError(
                f"The split '{split}' has passages and no question: there is nothing "
                "to answer."
            )
    if "train" in of and not (of["train"].answers >= 0).any():
        raise UserError(
            "No question of the training split has an answer that stands in its "
            "passage: to say that there is none would always be right. Give questions "
            "with answers."
        )


def _told(of: Mapping[str, Questions], longest: int) -> Iterator[str]:
    """Say what was cut, and what can't be learnt from."""
    rows = ", ".join(f"{len(q.windows):,} of {split}" for split, q in of.items())
    yield f"Windows: {rows}. Words and marks are apart, and nothing else is changed."
    wholes = [q for each in of.values() for q in each.asked]
    full = [
        len(cut.ids) == longest and cut.pieces[-1] < len(cut.spans) - 1
        for each in of.values()
        for cut in each.short
    ]
    if any(full):
        yield (
            f"{sum(full):,} of {len(wholes):,} questions are cut to {longest} tokens."
        )
    unknown = sum(int((each.answers[:, 0] == -2).sum()) for each in of.values())
    if unknown:
        yield f"{unknown:,} questions have answers that are not in their passages."
    wider = sum(map(_widened, of.values()))
    if wider:
        yield f"{wider:,} answers begin or end within a word: all of it is learnt."


def _widened(questions: Questions) -> int:
    """Count the answers that are not whole words."""
    count = 0
    for (passage, question), (first, last) in zip(
        questions.asked, questions.answers.tolist(), strict=True
    ):
        if first >= 0:
            begin, stop = questions.cuts[passage].characters(first, last)
            text = questions.passages[passage].text[begin:stop]
            count += text not in {answer.text.strip() for answer in question.answers}
    return count
