"""Which conversations train, and which are held out."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text.corpora import known_files
from lm_jax.text.corpus import Corpus
from lm_jax.text.dialogues import DIALOGUES, Conversation, read_messages
from lm_jax.text.folders import files_of, own_splits
from lm_jax.text.known import KNOWN
from lm_jax.text.reading import check_unchanged, measure
from lm_jax.text.splitting import digest_of, drawn_beside, share
from lm_jax.text.stores import where


class Talks(NamedTuple):
    """The conversations of a corpus, by split.

    Attributes:
        splits: in the order of the files.
        digest: of the files, and of how they are split.
        statement: sentences on what was found.
        bytes: of the files.
    """

    splits: dict[str, list[Conversation]]
    digest: str
    statement: str
    bytes: int


def find_conversations(corpus: Corpus, cache: Path) -> Talks:
    """Read the conversations of a corpus.

    Those of files that are named after no split are split by their text.

    Args:
        corpus: a known name, or a jsonl file or folder whose column holds lists of
            {"role", "content"}.
        cache: folder of what was read before.

    Raises:
        UserError: there is no such corpus, or what reads it refuses it.
    """
    known = KNOWN.get(corpus.source)
    if known and known.form not in DIALOGUES:
        names = [f"'{n}'" for n, known in KNOWN.items() if known.form in DIALOGUES]
        raise UserError(
            f"The corpus '{corpus.source}' has no conversations. {', '.join(names)} "
            'has, and jsonl files with lists of {"role", "content"} in the column '
            "that data.corpus.column names."
        )
    path = where(corpus.source, cache)
    if not known and not path.exists():
        raise UserError(f"There is no file or folder {path} of conversations.")
    files = known_files(known, corpus, cache) if known else files_of(path, cache)
    title = known.title if known else str(path)
    measures = [measure(file, cache, text=False) for file in files.paths]
    named = own_splits(files.paths, corpus.validation)
    shares = drawn_beside(named, corpus.shares)
    splits: dict[str, list[Conversation]] = {}
    for file, own, found in zip(files.paths, named, measures, strict=True):
        for talk in DIALOGUES[known.form](file) if known else _read(file, corpus):
            split = share(digest_of(str(talk)), shares, own)
            splits.setdefault(split, []).append(talk)
        check_unchanged(file, found["stamp"])
    how = [known.form if known else corpus.column, shares, named]
    whole = json.dumps([how, [found["sha256"] for found in measures]])
    counts = ", ".join(f"{len(talks):,} of {split}" for split, talks in splits.items())
    return Talks(
        splits,
        sha256(whole.encode()).hexdigest(),
        "\n".join([f"{title}: conversations, {counts}.", *files.notes]),
        sum(found["bytes"] for found in measures),
    )


def _read(file: Path, corpus: Corpus) -> Iterator[Conversation]:
    return read_messages(file, corpus.column)
