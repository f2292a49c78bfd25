"""Text in object stores (gs://, s3:// and others of fsspec): copied once, then read."""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.errors import UserError
from lm_jax.files import write_json
from lm_jax.folders import resumed_folder
from lm_jax.platform import from_extra

_CURRENT = "current.json"
# Their listings are pages of links, and say of no file whether it has changed.
_PAGES = ("http", "https")


def where(source: str, cache: Path) -> Path:
    """The path of a corpus: of its copy, where it lies in an object store.

    The store is asked each time: what has changed there is copied anew, and what was
    copied before stays. Where it can't be reached, the last copy is used, so that
    machines without a network need but the cache.

    Args:
        source: a path, or the address of a file or folder in a store.
        cache: folder of the copies.

    Raises:
        UserError: it can't be fetched, or there is no room for it.
    """
    if "://" not in source:
        return Path(os.path.expanduser(source))
    kept = cache / "stores" / sha256(source.encode()).hexdigest()[:20]
    try:
        store, files = _listing(source)
    except UserError:
        if (copy := _current(kept)) is not None:
            return copy
        raise
    listed = json.dumps([each[1:] for each in files])
    folder = kept / sha256(listed.encode()).hexdigest()[:20]
    if not folder.is_dir():
        _check_room(source, sum(each.size for each in files), cache)
        with resumed_folder(folder) as unfinished:
            if unfinished is not None:
                _fetch(source, store, files, unfinished)
    alone = files[0].name if files[0].alone else ""
    write_json(kept / _CURRENT, {"of": source, "copy": folder.name, "file": alone})
    return folder / alone


class _Stored(NamedTuple):
    """A file of a store: its place there, its name below the source, what it holds."""

    place: str
    name: str
    size: int
    version: str
    alone: bool
    """Whether it is itself the source."""


def _listing(source: str) -> tuple[Any, list[_Stored]]:
    """The store that a source lies in, and its files there.

    Raises:
        UserError: the store is unknown or can't be reached, or has nothing there.
    """
    import fsspec

    if source.partition("://")[0] in _PAGES or "::" in source:
        raise UserError(
            f"{source}: text is read from files, folders and object stores (gs://, "
            "s3://). Fetch it, and give the file."
        )
    try:
        store, root = fsspec.url_to_fs(source)
        found = store.find(root, detail=True)
    except ImportError as error:
        raise UserError(f"{source}: {error}. {from_extra('stores')}") from error
    except Exception as error:  # each store has errors of its own
        raise _unreachable(source, error) from error
    if not found:
        raise UserError(f"{source}: there is nothing there.")
    root = root.rstrip("/")
    above = len(root.rpartition("/")[0] if root in found else root)
    return store, [
        _Stored(
            place,
            place[above:].lstrip("/"),
            int(about["size"] or 0),
            _version(about),
            place == root,
        )
        for place, about in sorted(found.items())
    ]


def _version(about: dict[str, Any]) -> str:
    """What changes with a file's content, as its store tells."""
    names = ("ETag", "etag", "md5Hash", "crc32c", "LastModified", "created", "mtime")
    return next((str(about[name]) for name in names if about.get(name)), "")


def _fetch(source: str, store: Any, files: list[_Stored], folder: Path) -> None:
    """Copy files into a folder; those that are whole there stay.

    Raises:
        UserError: the store breaks off.
    """
    for file in files:
        whole = folder / file.name
        if whole.exists():
            continue
        whole.parent.mkdir(parents=True, exist_ok=True)
        part = whole.with_name(f".{whole.name}.part")
        try:
            store.get_file(file.place, str(part))
        except Exception as error:
            raise _unreachable(source, error) from error
        part.rename(whole)


def _unreachable(source: str, error: Exception) -> UserError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return UserError(f"{source} can't be fetched: {reason}")


def _current(kept: Path) -> Path | None:
    """The copy that was used last; None where there is none."""
    try:
        found = json.loads((kept / _CURRENT).read_text())
        copy = kept / found["copy"] / found["file"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return copy if copy.exists() else None


def _check_room(source: str, needed: int, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise UserError(
            f"{source} has {needed:,} bytes, and {free:,} are free in {cache}, where "
            "it would be copied to. Make room, or mount the store as a folder "
            "(gcsfuse, mount-s3) and give arrays of ids by their path there, one .bin "
            "a split: of these each step reads its own rows alone."
        )
