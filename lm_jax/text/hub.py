"""Hugging Face data sets: fetched once, then read from the cache."""

import json
import os
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lm_jax.errors import UserError, nearest
from lm_jax.files import filling
from lm_jax.folders import whole_folder
from lm_jax.text.tables import SPLITS, table_documents


def hub_tables(source: str, config: str, column: str, cache: Path) -> dict[str, Path]:
    """Fetch a Hugging Face data set once; give the folder of each split.

    The one column of text is kept in the cache, so that it is read without a
    network from then on.

    Raises:
        UserError: no network, no such data set or configuration or column.
    """
    name = sha256(f"{source}\n{config}\n{column}".encode()).hexdigest()[:20]
    folder = cache / "datasets" / f"{source.replace('/', '--')}-{name}"
    if not folder.is_dir():
        found = _load_hub(source, config, cache)
        tables = {SPLITS[k]: table for k, table in found.items() if k in SPLITS}
        if "train" not in tables:
            raise UserError(
                f"The data set '{source}' has no split 'train', but "
                f"{', '.join(map(str, found))}."
            )
        for table in tables.values():
            _check_column(table, column, source)
        with whole_folder(folder, same=True) as temporary:
            for split, table in tables.items():
                table.select_columns([column]).save_to_disk(str(temporary / split))
    return {path.name: path for path in sorted(folder.iterdir())}


def hub_fingerprint(folder: Path) -> str:
    """Give the digest of a kept split.

    Raises:
        UserError: what was kept is damaged.
    """
    try:
        return str(json.loads((folder / "state.json").read_text())["_fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error


def hub_documents(folder: Path, column: str) -> Iterator[str]:
    """Yield the texts of a split that `hub_tables` keeps.

    Raises:
        UserError: what was kept is damaged.
    """
    try:
        for file in sorted(folder.glob("*.arrow")):
            yield from table_documents(file, column)
    except UserError as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(
        f"The cache of a Hugging Face data set is damaged: {folder.parent} ({error}). "
        "Delete that folder, and the data set is fetched again."
    )


def _load_hub(source: str, config: str, cache: Path) -> Any:
    datasets = _datasets()
    if not _network(datasets.config.HF_ENDPOINT):
        raise UserError(
            f"The Hugging Face data set '{source}' cannot be fetched: "
            f"{datasets.config.HF_ENDPOINT} cannot be reached from here."
        )
    try:
        with filling(cache):
            return datasets.load_dataset(
                source, config or None, cache_dir=str(cache / "datasets")
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"The Hugging Face data set '{source}' cannot be read: {reason}"
        ) from error


def _network(endpoint: str) -> bool:
    """Ask once: the library would try for half a minute."""
    if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return True
    address = urlsplit(endpoint)
    try:
        port = address.port or 443
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def _check_column(table: Any, column: str, where: str) -> None:
    features = table.features
    if column not in features:
        raise UserError(f"{where} has no column '{column}'.{nearest(column, features)}")
    if getattr(features[column], "dtype", "") not in ("string", "large_string"):
        raise UserError(
            f"The column '{column}' of {where} holds no text but {features[column]}."
        )


def _datasets() -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets
