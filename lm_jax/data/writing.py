"""Files in the cache: whole or not there at all."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_jax.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """Say plainly that the cache cannot be written, and where it is."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"No space is left to write {path}. Make room there, or choose a "
                "cache on another disk; nothing half-written was kept."
            ) from error
        if error.errno in _CLOSED:
            raise UserError(
                f"{path} cannot be written ({error.strerror}). Choose a cache "
                "that can be."
            ) from error
        raise


def write_json(path: Path, value: object) -> None:
    """Write a JSON file beside its place, then move it there in one act."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with cache_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes its place when all went well.

    A folder that another process put there meanwhile stays: it holds the same.
    """
    temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    with cache_errors(folder):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            try:
                os.rename(temporary, folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
