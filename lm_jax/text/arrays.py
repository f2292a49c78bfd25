"""Arrays of ids that another program made: nanoGPT's, llm.c's and Megatron's .bin."""

import json
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from lm_jax.errors import UserError
from lm_jax.text import opening, reading
from lm_jax.text.folders import Files
from lm_jax.text.found import Text
from lm_jax.text.splitting import NOT_SPLIT, Shares, bounds, drawn_beside, share

# Megatron-LM, megatron/core/datasets/indexed_dataset.py: what its .idx begins with,
# and its codes of integer types.
_MEGATRON = b"MMIDIDX\x00\x00"
_CODES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
# llm.c, dev/data/data_common.py: 256 int32, of which the first and the third are
# these and the number of tokens.
_LLM_C = {20240520: "<u2", 20240801: "<u4"}
_HEADER = 256 * 4


def is_arrays(files: list[Path]) -> bool:
    """Say whether files hold ids, by their name."""
    return all(file.suffix == ".bin" for file in files)


def find_arrays(
    found: Files,
    splits: list[str],
    dtype: str,
    shares: Shares,
    title: str,
    cache: Path,
) -> Text:
    """Find arrays of ids, which keep their splits or are split here.

    One alone is split by position, of several each is given whole to a split.

    Args:
        found: .bin; Megatron's have an .idx beside them.
        splits: that each file's name tells, or "".
        dtype: of the ids, where the file doesn't say it.
        shares: held out, where the splits are not named.
        title: what messages call the corpus.
        cache: folder of what was read before.

    Raises:
        UserError: a file can't be read, or is cut.
    """
    files = found.paths
    measures = [reading.measure(file, cache, text=False) for file in files]
    held = drawn_beside(splits, shares)
    alone = splits.count("") == 1
    arrays: list[tuple[str, np.ndarray]] = []
    for file, split, measure in zip(files, splits, measures, strict=True):
        ids = read_ids(file, dtype)
        reading.check_unchanged(file, measure["stamp"])
        if alone and not split:
            arrays += _by_position(ids, held)
        else:
            arrays.append((share(measure["sha256"], held, split), ids))
    named = [(m["sha256"], s) for m, s in zip(measures, splits, strict=True)]
    types = [ids.dtype.str for _, ids in arrays]
    value = json.dumps([named, types, () if all(splits) else held])
    size = sum(measure["bytes"] for measure in measures)
    how = "It keeps its own splits."
    if not all(splits):
        how = "Split by position." if alone else "Split by a digest of each file."
    if not any(splits) and not any(held):
        how = NOT_SPLIT
    count = f" in {len(files)} files" if len(files) > 1 else ""
    return Text(
        sha256(value.encode()).hexdigest(),
        " ".join([f"{title}: {size:,} bytes of ids{count}. {how}", *found.notes]),
        documents=True,
        bytes=size,
        pieces=partial(_no_text, title),
        labels=partial(_no_text, title),
        arrays=tuple(arrays),
    )


def _by_position(ids: np.ndarray, shares: Shares) -> list[tuple[str, np.ndarray]]:
    cuts = np.split(ids, bounds(len(ids), shares))
    names = ("train", "validation", "test")
    return [pair for pair in zip(names, cuts, strict=True) if len(pair[1])]


def read_ids(path: Path, dtype: str) -> np.ndarray:
    """Map the ids of a .bin file: (tokens,) unsigned, nothing read.

    Args:
        path: of the file.
        dtype: of the ids, where neither it nor an .idx beside it says so.

    Raises:
        UserError: it is not as long as what it says of itself, or its ids have
            a type that can't be ids.
    """
    size, start, count = path.stat().st_size, 0, None
    little = np.dtype(dtype).newbyteorder("<").str
    index = path.with_suffix(".idx")
    header = np.fromfile(path, "<i4", 3) if size >= _HEADER else np.zeros(3, "<i4")
    if index.exists():
        little, count = _megatron(index)
    elif int(header[0]) in _LLM_C:
        little, count, start = _LLM_C[int(header[0])], int(header[2]), _HEADER
    width = np.dtype(little).itemsize
    if (size - start) % width or count not in (None, (size - start) // width):
        wanted = f"{count:,} ids" if count is not None else "whole ids"
        raise UserError(
            f"{path} is cut or no array of ids: it has {size - start:,} bytes, and "
            f"{wanted} of {width} bytes each were expected (corpus.dtype, or what the "
            "file says of itself)."
        )
    ids = np.memmap(path, little, "r", start)
    if little == "<u2" and not start and count is None:
        _check_narrow(path, ids)
    # Ids are no numbers below 0: what is one is found as one that is too large.
    return ids.view(little.replace("i", "u"))


def _check_narrow(path: Path, ids: np.ndarray) -> None:
    """Refuse ids of four bytes that are read as twice as many of two.

    Of ids below 2^20 the upper halves, every other number, are below 16.

    Raises:
        UserError: with the type that fits.
    """
    some = np.asarray(ids[: 1 << 16])
    if len(some) >= 64 and some[1::2].max() < 16 <= 256 < some[::2].max():
        raise UserError(
            f"{path} seems to hold ids of 4 bytes: read as 2 bytes each, every other "
            "one is below 16. Give --data.corpus.dtype uint32."
        )


def _megatron(index: Path) -> tuple[str, int]:
    """Give the type of the ids that an .idx belongs to, and their number."""
    size = index.stat().st_size
    with opening.reading(index), index.open("rb") as file:
        begins = file.read(len(_MEGATRON))
        version = int.from_bytes(file.read(8), "little")
        code = int.from_bytes(file.read(1), "little")
        sequences = int.from_bytes(file.read(8), "little")
        if begins != _MEGATRON or version != 1 or size < sequences * 12:
            raise UserError(f"{index} is no index of Megatron's, or it is cut.")
        file.seek(8, 1)
        lengths = np.fromfile(file, "<i4", sequences)
    if code not in _CODES:
        raise UserError(
            f"{index} says that its ids have the type of code {code}: no integers."
        )
    return _CODES[code], int(lengths.sum(dtype=np.int64))


def _no_text(title: str) -> Iterator:
    raise UserError(
        f"{title} holds ids, and no text. Read it with --data.tokenizer Ids "
        "and --data.tokenizer.size, the vocabulary of the tokenizer that made them; or "
        "with --data.tokenizer Kept and --data.tokenizer.run RUN, if a run's did."
    )
