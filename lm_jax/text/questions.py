"""Which questions train, and which are held out: whole articles are."""

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.corpora import known_files
from lm_jax.text.corpus import Corpus
from lm_jax.text.folders import files_of, own_splits
from lm_jax.text.known import KNOWN
from lm_jax.text.reading import check_unchanged, measure
from lm_jax.text.splitting import Shares, drawn_beside, share
from lm_jax.text.squad import QUESTIONS, Passage
from lm_jax.text.stores import where


class Asked(NamedTuple):
    """The questions of a corpus, by split.

    Attributes:
        splits: passages with their questions.
        digest: of the files, and of how they are split.
        statement: sentences on what was found.
        bytes: of the files.
    """

    splits: dict[str, list[Passage]]
    digest: str
    statement: str
    bytes: int


def find_questions(corpus: Corpus, fold: int | None, folds: int, cache: Path) -> Asked:
    """Read the questions of a corpus and split them by article.

    Articles are put in an order by a digest of their names. Every ``folds``-th of
    them is the test split of a fold, and of the others the first are for validation:
    so each article is in the test split of one fold.

    Args:
        corpus: a known name, or a file or folder of SQuAD's form.
        fold: which, from 0; None holds out the shares that the corpus says, or the
            files that are named after a split.
        folds: how many there are.
        cache: folder of what was read before.

    Raises:
        UserError: there is no such corpus, `read_squad` refuses it, or its files
            have splits of their own beside a fold.
    """
    known = KNOWN.get(corpus.source)
    if known and known.form not in QUESTIONS:
        raise UserError(
            f"The corpus '{corpus.source}' has no questions. "
            f"{' and '.join(_asked_of())} have, and files in SQuAD's form."
        )
    path = where(corpus.source, cache)
    if not known and not path.exists():
        raise UserError(f"There is no file or folder {path} of questions.")
    files = known_files(known, corpus, cache) if known else files_of(path, cache)
    form, title = (known.form, known.title) if known else ("squad", str(path))
    measures = [measure(file, cache) for file in files.paths]
    named = own_splits(files.paths, corpus.validation)
    if fold is not None and any(named):
        raise UserError(
            f"{title} keeps its own splits, and data.fold={fold} makes others: leave "
            "it out (None)."
        )
    shares = drawn_beside(named, corpus.shares)
    splits: dict[str, list[Passage]] = {}
    for file, own, found in zip(files.paths, named, measures, strict=True):
        read = list(QUESTIONS[form](file))
        check_unchanged(file, found["stamp"])
        for passage, split in _split(read, shares, own, fold, folds):
            splits.setdefault(split, []).append(passage)
    how = [form, shares, fold, folds if fold is not None else 0, named]
    whole = json.dumps([how, [found["sha256"] for found in measures]])
    return Asked(
        splits,
        sha256(whole.encode()).hexdigest(),
        "\n".join([f"{title}: {_counted(splits)}", *files.notes]),
        sum(found["bytes"] for found in measures),
    )


def _asked_of() -> list[str]:
    return [f"'{name}'" for name, known in KNOWN.items() if known.form in QUESTIONS]


def _split(
    read: list[Passage], shares: Shares, own: str, fold: int | None, folds: int
) -> Iterator[tuple[Passage, str]]:
    """Give each passage the split of its article.

    Raises:
        UserError: there are too few articles for so many folds.
    """
    digests = {p.article: sha256(p.article.encode()).hexdigest() for p in read}
    if fold is None:
        for passage in read:
            yield passage, share(digests[passage.article], shares, own)
        return
    order = sorted(digests, key=lambda name: digests[name])
    test = set(order[fold::folds])
    rest = [name for name in order if name not in test]
    held = set(rest[: round(shares.validation * len(rest)) or 1])
    if len(rest) < 2 or len(order) < folds:
        raise UserError(
            f"{len(order)} articles are too few for {folds} folds (data.folds): each "
            "needs one for test, and two others."
        )
    for passage in read:
        name = passage.article
        split = "validation" if name in held else "train"
        yield passage, "test" if name in test else split


def _counted(splits: dict[str, list[Passage]]) -> str:
    """Say how much there is of each split, and whether they share articles."""
    parts, all_articles = [], Counter[str]()
    for split, found in sorted(splits.items(), key=lambda item: item[0] != "train"):
        names = {passage.article for passage in found}
        all_articles.update(names)
        asked = [question for passage in found for question in passage.questions]
        none = sum(not question.answers for question in asked)
        text = f"{split} {len(asked):,} questions on {len(names):,} articles"
        parts.append(text + f" ({none:,} without an answer)" * bool(none))
    shared = sum(count > 1 for count in all_articles.values())
    what = f"{shared:,} articles are" if shared else "No article is"
    return "; ".join(parts) + f". {what} in two splits."
