"""Where the text of a corpus lies: below a known name, a path or a Hugging Face id."""

import dataclasses
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lm_jax.errors import UserError, nearest
from lm_jax.files import neighbour
from lm_jax.text import tables
from lm_jax.text.arrays import find_arrays, is_arrays
from lm_jax.text.corpus import Corpus
from lm_jax.text.folders import Files, files_of, one_of_each, own_splits
from lm_jax.text.found import Text
from lm_jax.text.hub import hub_documents, hub_fingerprint, hub_tables
from lm_jax.text.known import KNOWN, Known, available, namesakes
from lm_jax.text.opening import suffix
from lm_jax.text.pieces import Columns, digest, read_files
from lm_jax.text.reading import measure
from lm_jax.text.splitting import Piece, Shares, by_digest
from lm_jax.text.stores import where

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


def find(corpus: Corpus, cache: Path, label: Columns = Columns()) -> Text:
    """Find and measure a corpus, reading as little of it as needed.

    Args:
        corpus: which.
        cache: folder of what was read before.
        label: columns of the documents' labels, where these are asked for.

    Raises:
        UserError: the corpus is unknown, missing, empty or not UTF-8.
    """
    known = KNOWN.get(corpus.source)
    if known:
        return _find_known(known, corpus, cache, label)
    path = where(corpus.source, cache)
    if _exists(path):
        files = files_of(path, cache)
        title = corpus.source if "://" in corpus.source else str(path)
        if is_arrays(files.paths):
            splits = own_splits(files.paths, corpus.validation)
            return find_arrays(files, splits, corpus.dtype, corpus.shares, title, cache)
        return read_files(files, corpus, "text", title, cache, label)
    if _looks_like_path(corpus.source):
        above = path.parent
        more = "" if above.is_dir() else f" There is no folder {above} either."
        raise UserError(f"There is no file or folder {path}.{neighbour(path) or more}")
    close = nearest(corpus.source, KNOWN)
    if "/" not in corpus.source and "Did you mean" in close:
        guess = close.split(" There is:")[0]
        raise UserError(f"Unknown corpus '{corpus.source}'.{guess} {available()}")
    try:
        return _find_hub(corpus, cache)
    except UserError as error:
        here = f"There is no file, folder or corpus '{corpus.source}' here."
        raise UserError(f"{here}{neighbour(path)} {error} {available()}") from error


def _exists(path: Path) -> bool:
    """Say whether there is a file; `Path.exists` says no where it may not look.

    Raises:
        UserError: the system can't tell, or a link leads nowhere.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise UserError(
                f"{path} is a link to {os.readlink(path)}, which isn't there."
            ) from error
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return True


def _looks_like_path(source: str) -> bool:
    path = Path(source)
    return (
        source.startswith((".", "~", os.sep))
        or len(path.parts) > 2
        or (len(path.parts) == 2 and path.parent.is_dir())
        or suffix(path) in (*tables.READERS, ".txt", ".tokens", ".bin")
    )


def _find_known(known: Known, corpus: Corpus, cache: Path, label: Columns) -> Text:
    files = known_files(known, corpus, cache)
    corpus = dataclasses.replace(corpus, separator=corpus.separator or known.separator)
    text = read_files(files, corpus, known.form, known.title, cache, label)
    if known.sha256:
        found = measure(files.paths[0], cache)["sha256"]
        if found != known.sha256:
            raise UserError(
                f"{files.paths[0]} is not the text it should be: its sha256 is "
                f"{found}, not {known.sha256}. Install lm_jax again."
            )
    return text


def known_files(known: Known, corpus: Corpus, cache: Path) -> Files:
    """List the files of a known corpus, one of each.

    Raises:
        UserError: they are not there, or not all of them.
    """
    root = known.root
    found = known.found(root) if root else []
    if not found:
        where = f"it is not in {root}" if root else "$LM_JAX_DATA is not set"
        names = f" (its files are {', '.join(known.files)})" if root else ""
        told = _packed(root) or " ".join([*namesakes(corpus.source, root), available()])
        raise UserError(f"No corpus '{corpus.source}' here: {where}{names}. {told}")
    if missing := known.missing(found):
        raise UserError(
            f"The corpus '{corpus.source}' is not whole: {root} lacks "
            f"{', '.join(missing)} (plain or compressed). Put it there; or, to use "
            f"what is there as a text of your own, give its path: {found[0]}."
        )
    files = one_of_each(found, cache)
    return files._replace(notes=[*files.notes, *namesakes(corpus.source, root)])


def _packed(root: Path | None) -> str:
    """Say which archives lie where the files of a corpus should be; "" if none do."""
    inside = sorted(root.iterdir()) if root and root.is_dir() else []
    names = [path.name for path in inside if path.name.endswith(_ARCHIVES)]
    if not names:
        return ""
    them = "it" if len(names) == 1 else "them"
    return f"But there is {' and '.join(names)}: unpack {them} there."


def _find_hub(corpus: Corpus, cache: Path) -> Text:
    folders = hub_tables(corpus.source, corpus.config, corpus.column, cache)
    prints = [(hub_fingerprint(folder), name) for name, folder in folders.items()]
    drawn = "validation" not in folders and corpus.validation > 0
    shares = Shares(corpus.validation, 0.0 if "test" in folders else corpus.test)

    def pieces() -> Iterator[Piece]:
        for split, folder in folders.items():
            own = "" if drawn and split == "train" else split
            texts = hub_documents(folder, corpus.column)
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
        digest(recipe, prints),
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
