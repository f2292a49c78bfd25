"""Documents from tables: jsonl, csv, parquet and Hugging Face data sets."""

import json
import os
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lm_jax.errors import UserError, nearest
from lm_jax.files import filling, whole_folder

READERS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
# What data sets call their splits, and what they are called here.
SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def suffix(path: Path) -> str:
    """Give the file's suffix, without the .gz after it."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def table_documents(path: Path, column: str, cache: Path) -> Iterator[str]:
    """Yield the texts of one column of a jsonl, csv or parquet file.

    Raises:
        UserError: the file has no such column of text, or cannot be read.
    """
    yield from _column(_table(path, cache), column, str(path))


def table_labels(
    path: Path, column: str, label: str, cache: Path
) -> Iterator[tuple[str, str]]:
    """Yield the texts of one column, each with what stands in another.

    Raises:
        UserError: the file has no such columns, or cannot be read.
    """
    table = _table(path, cache)
    _check_column(table, column, str(path))
    if label not in table.features:
        found = nearest(label, table.features)
        raise UserError(f"{path} has no column '{label}' of labels.{found}")
    for rows in table.select_columns([column, label]).iter(1000):
        for text, own in zip(rows[column], rows[label], strict=True):
            if text:
                yield text, str(own)


def _table(path: Path, cache: Path) -> Any:
    datasets = _datasets()
    reader = READERS[suffix(path)]
    options = {"delimiter": "\t"} if suffix(path) == ".tsv" else {}
    try:
        with filling(cache):
            return datasets.load_dataset(
                reader,
                data_files=str(path),
                split="train",
                cache_dir=str(cache / "datasets"),
                **options,
            )
    # A parquet file that was cut short is pyarrow's ArrowInvalid, a ValueError.
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"{path} cannot be read as {reader}: {reason}") from error


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
        with whole_folder(folder) as temporary:
            for split, table in tables.items():
                table.select_columns([column]).save_to_disk(str(temporary / split))
    return {path.name: path for path in sorted(folder.iterdir())}


def hub_fingerprint(folder: Path) -> str:
    """Give the digest of a kept split."""
    return str(json.loads((folder / "state.json").read_text())["_fingerprint"])


def hub_documents(folder: Path, column: str) -> Iterator[str]:
    """Yield the texts of a split that `hub_tables` keeps."""
    yield from _column(_datasets().load_from_disk(str(folder)), column, str(folder))


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


def _column(table: Any, column: str, where: str) -> Iterator[str]:
    _check_column(table, column, where)
    for rows in table.select_columns([column]).iter(1000):
        yield from (text for text in rows[column] if text)


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
