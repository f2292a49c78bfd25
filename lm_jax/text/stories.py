"""Which stories train, and which are held out: each is whole in one split."""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.babi import Story, read_babi
from lm_jax.text.corpora import known_files
from lm_jax.text.corpus import Corpus
from lm_jax.text.folders import files_of, own_splits
from lm_jax.text.found import Text
from lm_jax.text.known import KNOWN
from lm_jax.text.opening import suffix
from lm_jax.text.reading import check_unchanged, measure
from lm_jax.text.splitting import Piece, digest_of, share
from lm_jax.text.stores import where


class Stories(NamedTuple):
    """The stories of a corpus, by split.

    Attributes:
        splits: in the order of the files.
        digest: of the files, and of how they are split.
        statement: sentences on what was found.
        bytes: of the files.
    """

    splits: dict[str, list[Story]]
    digest: str
    statement: str
    bytes: int

    def as_text(self, spaced: Callable[[str], str]) -> Text:
        """Give the stories as documents, for a tokenizer to learn from.

        Args:
            spaced: puts spaces between the words and marks of a sentence.
        """

        def pieces() -> Iterator[Piece]:
            for split, stories in self.splits.items():
                for story in stories:
                    lines = (f"{spaced(t)} {answer or ''}" for t, answer in story.lines)
                    yield Piece(split, " ".join(lines), True)

        return Text(
            self.digest, self.statement, True, self.bytes, pieces, lambda: iter(())
        )


def find_stories(corpus: Corpus, cache: Path) -> Stories:
    """Read the stories of a corpus and split them.

    Files that are named after a split are of it; for validation, where no file is,
    a share of the training stories is drawn by a digest of each.

    Args:
        corpus: a known name, or a file or folder of bAbI's form.
        cache: folder of what was read before.

    Raises:
        UserError: there is no such corpus, or `read_babi` refuses it.
    """
    known = KNOWN.get(corpus.source)
    if known and known.form != "babi":
        raise UserError(
            f"The corpus '{corpus.source}' has no stories. 'babi' has, and files in "
            "bAbI's form."
        )
    path = where(corpus.source, cache)
    if not known and not path.exists():
        raise UserError(f"There is no file or folder {path} of stories.")
    files = known_files(known, corpus, cache) if known else files_of(path, cache)
    measures = [measure(f, cache, text=suffix(f) != ".tar") for f in files.paths]
    named = own_splits(files.paths, corpus.validation)
    stories: list[Story] = []
    for file, own, found in zip(files.paths, named, measures, strict=True):
        stories += [s if s.split else s._replace(split=own) for s in read_babi(file)]
        check_unchanged(file, found["stamp"])
    splits = _split(stories, corpus)
    if "train" not in splits:
        raise UserError(f"{known.title if known else path} has no stories that train.")
    how = [corpus.shares, [found["sha256"] for found in measures]]
    whole = json.dumps(how + [named] * any(named))
    return Stories(
        splits,
        sha256(whole.encode()).hexdigest(),
        "\n".join(
            [f"{known.title if known else path}: {_counted(splits)}", *files.notes]
        ),
        sum(found["bytes"] for found in measures),
    )


def _split(stories: list[Story], corpus: Corpus) -> dict[str, list[Story]]:
    """Give the stories of each split, in their order.

    A test split of their own leaves none to be drawn, and so does one for validation.
    """
    own = {story.split for story in stories}
    test = 0.0 if "test" in own else corpus.test
    validation = 0.0 if "validation" in own else corpus.validation
    shares = corpus.shares._replace(validation=validation, test=test)
    splits: dict[str, list[Story]] = {}
    for story in stories:
        fixed = "" if story.split == "train" else story.split
        split = share(digest_of(f"{story.task}\n{story.text}"), shares, fixed)
        splits.setdefault(split, []).append(story)
    return splits


def _counted(splits: dict[str, list[Story]]) -> str:
    """Say how much there is of each split."""
    parts = []
    for split in sorted(splits, key=lambda name: name != "train"):
        stories = splits[split]
        asked = sum(line.answer is not None for s in stories for line in s.lines)
        tasks = len({story.task for story in stories})
        parts.append(
            f"{split} {asked:,} questions in {len(stories):,} stories of {tasks} tasks"
        )
    return "; ".join(parts) + "."
