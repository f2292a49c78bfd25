"""Fewer pairs of texts, and further ones whose source a model wrote."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lm_jax.data.examples import drawn
from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.text.found import Text
from lm_jax.text.splitting import Piece


def limited(text: Text, limit: int | None) -> Text:
    """Keep so many rows of the training split, drawn by chance, and all others.

    They are the same for every seed, and a larger limit keeps those of a smaller one.

    Args:
        text: a corpus of rows.
        limit: rows of training; None keeps all.

    Raises:
        UserError: there are not so many.
    """
    if limit is None:
        return text
    whole, together = text.pieces, text.together

    def numbered() -> Iterator[tuple[int, Piece]]:
        count = 0
        for piece in whole():
            yield (count // together if piece.split == "train" else -1), piece
            count += piece.split == "train"

    rows = 1 + max(row for row, _ in numbered())
    chosen = {-1, *drawn(rows, limit).tolist()}

    def pieces() -> Iterator[Piece]:
        return (piece for row, piece in numbered() if row in chosen)

    said = f"{limit:,} of the {rows:,} rows of train are drawn by chance."
    return replace(
        text,
        digest=_digest(text.digest, limit),
        statement=f"{text.statement} {said}",
        pieces=pieces,
    )


class _Line(NamedTuple):
    """A row that a model made: what it was given, and what it wrote of it."""

    given: str
    wrote: str


def with_written(text: Text, path: str, turned: bool) -> Text:
    """Add pairs to the training split, whose sources a model wrote of their targets.

    Back-translation (Sennrich et al. 2016, "Improving neural machine translation
    models with monolingual data"): the targets are what people wrote, so it is the
    source that may be wrong.

    Args:
        text: a corpus of pairs.
        path: file of `generate --prompts TARGETS --json`, by a run of the other
            direction; "" adds none. Where nothing was written the pair is left out.
        turned: whether the second text of a pair is the source.

    Raises:
        UserError: the file can't be read, or a line of it is no such row.
    """
    if not path:
        return text
    lines = _read(given_path(path, "data.synthetic"))
    kept = [line for line in lines if line.wrote.strip() and line.given.strip()]
    if not kept:
        raise UserError(f"data.synthetic: {path} has no pair of texts.")
    whole = text.pieces

    def pieces() -> Iterator[Piece]:
        yield from whole()
        for line in kept:
            for each in line if turned else reversed(line):
                yield Piece("train", each, True)

    said = f"{len(kept):,} pairs of train have a source that was written by a model"
    if len(kept) < len(lines):
        said += f" ({len(lines) - len(kept):,} more had none)"
    return replace(
        text,
        digest=_digest(text.digest, kept),
        statement=f"{text.statement} {said}.",
        bytes=text.bytes + sum(len(each.encode()) for line in kept for each in line),
        pieces=pieces,
    )


def _read(path: Path) -> list[_Line]:
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.synthetic: {path} can't be read ({error}). It is a file of "
            "`generate RUN --prompts TARGETS --json`."
        ) from error
    return [_line(line, f"{path}, line {k}") for k, line in enumerate(lines, 1)]


def _line(line: str, where: str) -> _Line:
    try:
        found = json.loads(line)
        given, wrote = found["prompt"], found["text"]
        if not isinstance(given, str) or not isinstance(wrote, str):
            raise TypeError("no text")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'data.synthetic: {where} has no "prompt" and "text", as `generate RUN '
            "--prompts TARGETS --json` writes them."
        ) from error
    return _Line(given, wrote)


def _digest(*values: object) -> str:
    return sha256(json.dumps(values).encode()).hexdigest()
