"""Digests of a checkpoint's files: what was cut or changed later is refused by name."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lm_jax.errors import UserError

DIGESTS = "digests.json"
_NOTES = ("_CHECKPOINT_METADATA", "commit_success.txt")


def seal(folder: Path) -> None:
    """Write the digest of every file of a checkpoint beside them."""
    digests = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    (folder / DIGESTS).write_text(json.dumps(digests, indent=1))


def _files(folder: Path) -> Iterable[Path]:
    # Orbax ends the last two after the digests; nothing that is read stands there.
    apart = {folder / name for name in (DIGESTS, *_NOTES)}
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in apart
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, items: tuple[str, ...] | None = None) -> None:
    """Check a checkpoint's files against the digests written with them.

    Args:
        folder: of the checkpoint.
        items: whose files are read; None is all. That files are there is always
            checked.

    Raises:
        UserError: naming the first file that is missing or changed.
    """
    advice = (
        "Nothing was deleted or started over. To go on from an earlier "
        "checkpoint, move that folder away."
    )
    if not folder.is_dir():
        raise UserError(f"There is no checkpoint {folder}.")
    try:
        digests = json.loads((folder / DIGESTS).read_text())
    except (OSError, ValueError):
        raise UserError(
            f"The checkpoint {folder} is incomplete: {DIGESTS} is missing or "
            f"unreadable. {advice}"
        ) from None
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"The checkpoint {folder} lacks the file {name}. {advice}")
        read = items is None or name.split("/")[0] in items
        if read and _digest(path) != digest:
            raise UserError(
                f"The checkpoint {folder} is damaged: the file {name} is not what "
                f"was written. {advice}"
            )
