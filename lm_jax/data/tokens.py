"""Token arrays on disk: made once, found again by the digest of what they are."""

import dataclasses
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lm_jax.data.shards import Shared, own_share
from lm_jax.data.token_files import Progress, make_share, make_tokens
from lm_jax.errors import UserError
from lm_jax.folders import resumed_folder
from lm_jax.text.found import Text
from lm_jax.tokenizers import Tokenizer, Trained, load_tokenizer
from lm_jax.tokenizers.chunks import Coded
from lm_jax.tokenizers.saved import describe
from lm_jax.tokenizers.saved import digest as tokenizer_digest

# Part of every folder's name: raise it when the same text would give other files.
FORMAT = 4

# What is raised where files of tokens are not what they should be. Who may open no more
# files, or reads from a disk that fails, has found no damage.
_DAMAGE = (
    *(FileNotFoundError, IsADirectoryError, NotADirectoryError),
    *(ValueError, KeyError, TypeError, UserError),
)
_RUN_TOGETHER = (
    "It has many documents, and this tokenizer no token that ends one: they follow "
    "each other with nothing between them. What parted them, such as line ends, is "
    "left out."
)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one split."""

    ids: np.ndarray
    """(tokens,) unsigned, memory-mapped: all documents, one after the other."""
    documents: np.ndarray
    """(documents + 1,) int64: where in `ids` each document starts and ends."""
    parts: tuple[int, ...]
    """Where in `ids` the text of each corpus starts and ends."""
    unknown: int
    """How many of the tokens are <unk>."""
    coded: Coded
    """The text that they code."""


class Tokenized(NamedTuple):
    """What is known of a text once its tokens are on disk."""

    tokenizer: Trained
    splits: dict[str, Tokens]
    statement: str
    digest: str
    """Of the texts, how they were split, the tokenizer as it was asked for and as it
    was trained."""
    text: str
    """Digest of the text of each split, before any tokenizer."""


def tokenize(
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    end: bool,
    cache: Path,
    progress: Progress | None = None,
) -> Tokenized:
    """Give the tokens of some texts, from the cache or made and kept there.

    One tokenizer is trained on the training split of all texts. With `end` its
    end-of-document token follows each document.

    Raises:
        UserError: the text does not fit the tokenizer, or the disk is full.
        Shared: they are not in the cache, and a share of them is encoded.
    """
    digest = _digest(texts, tokenizer, end)
    folder = cache / "tokens" / f"{digest}-{FORMAT}"
    statement = [text.statement for text in texts]
    mapped = _mapped(texts)
    made = None
    if folder.is_dir():
        try:
            made = _load(folder, mapped)
        except _DAMAGE as error:
            statement.append(f"{folder} was damaged and made again: {error}.")
            shutil.rmtree(folder)
    if made is None:
        shards = folder.with_name(f".{folder.name}.shards")
        if (share := own_share()) is not None:
            make_share(shards, texts, tokenizer, end, share, progress)
            raise Shared
        with resumed_folder(folder) as unfinished:
            if unfinished is not None:
                make_tokens(
                    unfinished, texts, tokenizer, end, not mapped, shards, progress
                )
        shutil.rmtree(shards, ignore_errors=True)
        made = _load(folder, mapped)
    trained, splits, text, copies = made
    # Of a text that is scored whole, nothing trains.
    names = ["all"] if list(splits) == ["train"] else splits
    statement += [describe(trained), *map(_sizes, names, splits.values()), *copies]
    if end and trained.end_id is None and any(t.coded.bytes for t in splits.values()):
        statement.append(_RUN_TOGETHER)
    # What was trained counts too: the same text can give other pieces elsewhere.
    whole = sha256(f"{digest} {tokenizer_digest(trained)}".encode()).hexdigest()[:20]
    return Tokenized(trained, splits, "\n".join(statement), whole, text)


def _digest(texts: Sequence[Text], tokenizer: Tokenizer, end: bool) -> str:
    value = dataclasses.asdict(tokenizer)  # type: ignore[call-overload]
    kind = type(tokenizer).__name__
    # One that was trained before is what it holds, not where it lies.
    there = kind in ("Kept", "Pretrained")
    kept = tokenizer_digest(tokenizer.train(())) if there else ""
    what = [[text.digest for text in texts], kind, value, end, *[kept] * bool(kept)]
    return sha256(json.dumps(what).encode()).hexdigest()[:20]


def _sizes(name: str, tokens: Tokens) -> str:
    share = tokens.unknown / max(len(tokens.ids), 1)
    unknown = f", {share:.2%} of them unknown" if tokens.unknown else ""
    coded = tokens.coded
    of = f"of {coded.bytes:,} bytes"
    if coded.read != coded.bytes:
        of += f" ({coded.read:,} as it was read)"
    if not coded.bytes:
        count = len(tokens.documents) - 1
        of = f"in {count:,} document{'s' * (count != 1)}"
    if coded.spelling:
        unknown += f" (spelled in {coded.spelling:,} bits)"
    return f"{name}: {len(tokens.ids):,} tokens {of}{unknown}."


def _mapped(texts: Sequence[Text]) -> dict[str, np.ndarray]:
    """Give the arrays that are used where they lie: one corpus, one a split."""
    arrays = texts[0].arrays
    alone = len(texts) == 1 and len(dict(arrays)) == len(arrays)
    return dict(arrays) if alone else {}


def _load(
    folder: Path, mapped: dict[str, np.ndarray]
) -> tuple[Trained, dict[str, Tokens], str, list[str]]:
    meta = json.loads((folder / "meta.json").read_text())
    for name, size in meta["sizes"].items():
        found = (folder / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} had {found:,} bytes, not {size:,}")
    splits = {
        name: Tokens(
            mapped[name] if mapped else _map(folder / f"{name}.ids", meta["dtype"]),
            _map(folder / f"{name}.documents", "<i8"),
            tuple(split["parts"]),
            split["unknown"],
            Coded(**split["coded"]),
        )
        for name, split in meta["splits"].items()
    }
    trained = load_tokenizer(folder / "tokenizer.json")
    bits = math.log2(max(1, trained.vocab_size))
    splits = {name: _counted(tokens, bits) for name, tokens in splits.items()}
    return trained, splits, meta["text"], meta["copies"]


def _counted(tokens: Tokens, bits: float) -> Tokens:
    """Add what the tokens are, and their bits if each were as likely as any other."""
    count = len(tokens.ids)
    coded = tokens.coded._replace(tokens=count, uniform=count * bits)
    return dataclasses.replace(tokens, coded=coded)


def _map(path: Path, dtype: str) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r")
