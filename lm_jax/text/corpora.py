"""Corpora: which text, where it lies, and how it is split."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from lm_jax.errors import UserError, nearest
from lm_jax.text import reading, tables
from lm_jax.text.arrays import find_arrays, is_arrays
from lm_jax.text.found import Text
from lm_jax.text.known import (
    DOCUMENTS,
    KNOWN,
    LABELLED,
    Form,
    Known,
    available,
    stripped_lines,
)
from lm_jax.text.splitting import (
    Piece,
    Shares,
    bounds,
    by_digest,
    by_position,
    digest_of,
    ended,
    share,
)


@dataclass(frozen=True)
class Corpus:
    """A text, by name, path or Hugging Face id, and the shares held out of it."""

    source: str = "tinyshakespeare"
    """A shipped name, a known name below $LM_JAX_DATA, the path of a text,
    jsonl, csv or parquet file (.gz too) or folder, a Hugging Face id, or the path
    of arrays of ids (.bin, as nanoGPT, llm.c and Megatron write them)."""
    column: str = "text"
    """Column of the text in jsonl, csv, parquet and Hugging Face data."""
    config: str = ""
    """Configuration of a Hugging Face data set."""
    separator: str = ""
    """Cuts plain text into documents wherever it stands; it is dropped."""
    dtype: Literal["uint16", "uint32"] = "uint16"
    """Of the ids of a .bin file that doesn't say it itself."""
    validation: float = 0.1
    """Share for validation, where the corpus has no such split of its own."""
    test: float = 0.0
    """Share for a test split, where the corpus has no splits of its own."""

    @property
    def shares(self) -> Shares:
        """The shares that are held out."""
        return Shares(self.validation, self.test)

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train on."""
        shares = (self.validation, self.test)
        if not (min(shares) >= 0 and sum(shares) < 1):
            raise UserError(
                f"Corpus(validation={self.validation}, test={self.test}): the "
                "shares must not be negative and leave some text for training: "
                "their sum must be below 1."
            )


class _File(NamedTuple):
    path: Path
    split: str
    """A split that the corpus names itself, else empty."""
    measure: dict


def find(corpus: Corpus, cache: Path, label: str = "") -> Text:
    """Find and measure a corpus, reading as little of it as needed.

    Args:
        corpus: which.
        cache: folder of what was read before.
        label: column of the documents' labels, where these are asked for.

    Raises:
        UserError: the corpus is unknown, missing, empty or not UTF-8.
    """
    known = KNOWN.get(corpus.source)
    if known:
        return _find_known(known, corpus, cache, label)
    path = Path(corpus.source).expanduser()
    if path.exists():
        files = _files_of(path)
        if is_arrays(files):
            splits = _own_splits(files, corpus.validation)
            return find_arrays(
                files, splits, corpus.dtype, corpus.shares, str(path), cache
            )
        return _find_files(files, corpus, "text", str(path), cache, label)
    if _looks_like_path(corpus.source):
        raise UserError(f"There is no file or folder {path}.{_neighbour(path)}")
    close = nearest(corpus.source, KNOWN)
    if "/" not in corpus.source and "Did you mean" in close:
        guess = close.split(" There is:")[0]
        raise UserError(f"Unknown corpus '{corpus.source}'.{guess} {available()}")
    try:
        return _find_hub(corpus, cache)
    except UserError as error:
        hint = f" If it is no such id: {available()}"
        raise UserError(f"{error}{hint}") from error


def _looks_like_path(source: str) -> bool:
    path = Path(source)
    return (
        source.startswith((".", "~", os.sep))
        or len(path.parts) > 2
        or tables.suffix(path) in (*tables.READERS, ".txt", ".tokens", ".bin")
    )


def _neighbour(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    names = [entry.name for entry in path.parent.iterdir()][:1000]
    guess = nearest(path.name, names).split(" There is:")[0]
    return guess if "Did you mean" in guess else ""


def _find_known(known: Known, corpus: Corpus, cache: Path, label: str) -> Text:
    root = known.root
    files = sorted(root.glob(known.files)) if root and root.is_dir() else []
    if not files:
        where = f"it is not in {root}" if root else "$LM_JAX_DATA is not set"
        raise UserError(f"No corpus '{corpus.source}' here: {where}. {available()}")
    corpus = dataclasses.replace(corpus, separator=corpus.separator or known.separator)
    text = _find_files(files, corpus, known.form, known.title, cache, label)
    if known.sha256:
        found = reading.measure(files[0], cache)["sha256"]
        if found != known.sha256:
            raise UserError(
                f"{files[0]} is not the text it should be: its sha256 is {found}, "
                f"not {known.sha256}. Install lm_jax again."
            )
    return text


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = reading.list_files(path)
    if not files:
        raise UserError(f"The folder {path} has no files.")
    if arrays := [file for file in files if file.suffix == ".bin"]:
        return arrays
    kinds = {tables.suffix(file) in tables.READERS for file in files}
    if len(kinds) > 1:
        raise UserError(
            f"The folder {path} mixes tables ({', '.join(tables.READERS)}) and "
            "plain text: put them in two folders."
        )
    return files


def _own_splits(files: list[Path], validation: float) -> list[str]:
    """Give the split that each file's name or folder names; empty is to be drawn.

    Where train and test are named, and validation is not, it is drawn from train.
    """
    above = os.path.commonpath([file.parent for file in files])
    splits = []
    for file in files:
        words = re.split(r"[^a-z]+", file.name.lower())
        folders = [part.lower() for part in file.relative_to(above).parts[:-1]]
        named = [tables.SPLITS[w] for w in (*folders, *words) if w in tables.SPLITS]
        splits.append(named[0] if named else "")
    if any(splits) and not all(splits):
        _refuse_unnamed(files, splits)
    if "train" not in splits or len(set(splits)) == 1:
        return [""] * len(files)
    drawn = "validation" not in splits and validation > 0
    return ["" if drawn and split == "train" else split for split in splits]


def _refuse_unnamed(files: list[Path], splits: list[str]) -> None:
    """Name the files without a split beside those that have one."""
    unnamed = [str(f) for f, split in zip(files, splits, strict=True) if not split]
    named = next(f for f, split in zip(files, splits, strict=True) if split)
    more = f" and {len(unnamed) - 3} more" if len(unnamed) > 3 else ""
    raise UserError(
        f"{named} is named after a split, and {', '.join(unnamed[:3])}{more} after "
        "none. Move elsewhere what is no text of the corpus, and name a split (train, "
        "validation, test) in each file or its folder, or in none."
    )


def _find_files(
    files: list[Path],
    corpus: Corpus,
    form: Form,
    title: str,
    cache: Path,
    label: str,
) -> Text:
    table = tables.suffix(files[0]) in tables.READERS and form == "text"
    plain = not (
        form in ("tar", *LABELLED) or (table and tables.suffix(files[0]) == ".parquet")
    )
    splits = _own_splits(files, corpus.validation)
    found = [
        _File(path, split, reading.measure(path, cache, text=plain))
        for path, split in zip(files, splits, strict=True)
    ]
    size = sum(file.measure["bytes"] for file in found)

    def documents(file: _File) -> Iterator[str] | None:
        if table:
            return tables.table_documents(file.path, corpus.column, cache)
        if form in LABELLED:
            return (text for text, _ in LABELLED[form](file.path))
        if form == "tar":
            return reading.tar_documents(file.path)
        if form in DOCUMENTS:
            return DOCUMENTS[form](file.path)
        if corpus.separator:
            return reading.cut_documents(reading.blocks(file.path), corpus.separator)
        return None

    one = len({file.split for file in found}) == len(found) or len(found) == 1
    inside = table or form in ("tar", *DOCUMENTS, *LABELLED) or bool(corpus.separator)
    many = not one or inside
    drawn = splits.count("")
    shares = Shares(corpus.validation, 0.0 if any(splits) else corpus.test)
    how = _how_split(found, shares, drawn > 1 or inside)
    cut = shares if drawn else ()
    recipe = [form, corpus.separator, corpus.column if table else "", many, cut]
    digests = [(file.measure["sha256"], file.split) for file in found]

    def pieces() -> Iterator[Piece]:
        for file in found:
            whole = documents(file)
            if whole is not None:
                yield from by_digest(whole, file.split, shares)
            elif file.split or drawn > 1:
                split = file.split or share(file.measure["sha256"], shares)
                yield from ended(split, _plain(file.path, form))
            else:
                total = file.measure["characters"]
                yield from by_position(_plain(file.path, form), total, shares)

    def labels() -> Iterator[tuple[str, str]]:
        for file in found:
            pairs = labelled(file)
            for text, own in pairs:
                yield share(digest_of(text), shares, file.split), own

    def labelled(file: _File) -> Iterator[tuple[str, str]]:
        if form in LABELLED:
            return LABELLED[form](file.path)
        if not table:
            raise UserError(
                f"{title} has no labels: they are read from the column '{label}' of a "
                "jsonl, csv, tsv or parquet file."
            )
        return tables.table_labels(file.path, corpus.column, label, cache)

    count = f" in {len(found)} files" if len(found) > 1 else ""
    return Text(
        _digest(recipe, digests),
        f"{title}: {size:,} bytes{count}. {how}",
        many,
        size,
        pieces,
        labels,
    )


def _plain(path: Path, form: Form) -> Iterator[str]:
    blocks = reading.cut_safely(reading.blocks(path))
    return stripped_lines(blocks) if form == "stripped lines" else blocks


def _how_split(files: list[_File], shares: Shares, many: bool) -> str:
    drawn = [file for file in files if not file.split]
    if not drawn:
        return "It keeps its own splits."
    start = "Split"
    if len(drawn) < len(files):
        start = "It keeps its own test split. Its train is split"
    if many:
        return (
            f"{start} by a digest of each document's text: "
            f"{shares.validation:g} for validation, {shares.test:g} for test."
        )
    total = drawn[0].measure["characters"]
    train, validation = bounds(total, shares)
    sentence = f"{start} by position: the first {train:,} characters are train, "
    sentence += f"the next {validation - train:,} validation"
    if shares.test:
        sentence += f", the last {total - validation:,} test"
    return sentence + "."


def _find_hub(corpus: Corpus, cache: Path) -> Text:
    folders = tables.hub_tables(corpus.source, corpus.config, corpus.column, cache)
    prints = [
        (tables.hub_fingerprint(folder), name) for name, folder in folders.items()
    ]
    drawn = "validation" not in folders and corpus.validation > 0
    shares = Shares(corpus.validation, 0.0 if "test" in folders else corpus.test)

    def pieces() -> Iterator[Piece]:
        for split, folder in folders.items():
            own = "" if drawn and split == "train" else split
            texts = tables.hub_documents(folder, corpus.column)
            yield from by_digest(texts, own, shares)

    how = f"It keeps its own splits: {', '.join(folders)}."
    if drawn:
        how += (
            f" A share of {corpus.validation:g} of train, drawn by a digest of each "
            "document's text, is validation."
        )
    size = sum(f.stat().st_size for p in folders.values() for f in p.glob("*.arrow"))
    recipe = [corpus.column, drawn, shares]
    return Text(
        _digest(recipe, prints),
        f"Hugging Face data set {corpus.source} {corpus.config}".rstrip() + f". {how}",
        True,
        size,
        pieces,
        partial(_no_labels, corpus.source),
    )


def _no_labels(source: str) -> Iterator[tuple[str, str]]:
    raise UserError(
        f"The labels of the Hugging Face data set {source} can't be read so far: save "
        "it as jsonl, csv or parquet files, one for each split, and give their folder."
    )


def _digest(*values: object) -> str:
    return sha256(json.dumps(values).encode()).hexdigest()
