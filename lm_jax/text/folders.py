"""Which files of a folder are a corpus, one of each, and which split each is of."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError
from lm_jax.text import tables
from lm_jax.text.opening import plain_name, reading, suffix
from lm_jax.text.reading import measure

# What lies beside a corpus and is none of it: about it, of the program that wrote it,
# copies that editors and downloads leave, and checksums.
_BESIDE = re.compile(
    r"(readme|licen[cs]e|copying|notice|citation|changelog)(\..*|-.*|)"
    r"|dataset_infos?\.json|dataset_dict\.json|state\.json|thumbs\.db|desktop\.ini"
    r"|_success|_(common_)?metadata"
    r"|.*(~|\.(bak|orig|swp|tmp|part|crdownload))"
    r"|.*\.(md5|sha1|sha256|sha512)|(md5|sha\d+)sums?(\.txt)?",
    re.IGNORECASE,
)
# What names a split too where every file of a folder names one; alone they are words.
_SPLITS_TOO = {
    "training": "train",
    **dict.fromkeys(("devel", "development", "testa"), "validation"),  # testa: CoNLL's
    **dict.fromkeys(("testing", "testb"), "test"),
}


class Files(NamedTuple):
    """The files of a corpus, and sentences on those that lie beside them."""

    paths: list[Path]
    notes: list[str]


def files_of(path: Path, cache: Path) -> Files:
    """List the files of a corpus: a file itself, or those of a folder.

    Links to folders are followed. Hidden files and those about the corpus, such as
    a README, are left out and named. Where arrays of ids (.bin) are among them,
    they are the corpus; of one text that stands there twice, one is taken.

    Raises:
        UserError: there are none; tables stand beside plain text; two files of one
            name differ.
    """
    if not path.is_dir():
        return Files([path], [])
    names = sorted(_below(path))
    shown = [name for name in names if not _hidden(name)]
    kept = [name for name in shown if not _BESIDE.fullmatch(name.name)]
    if not kept:
        more = f" but {_listed(names)}" if names else ""
        raise UserError(f"The folder {path} has no files{more}.")
    files = sorted(path / name for name in kept)
    if arrays := [file for file in files if file.suffix == ".bin"]:
        ids = {name.with_suffix("") for name in kept if name.suffix == ".bin"}
        kept = [n for n in kept if n.with_suffix("") in ids]
        kept = [n for n in kept if n.suffix in (".bin", ".idx")]
    left = sorted({_first_hidden(n) if _hidden(n) else n for n in names} - {*kept})
    notes = [f"Left out: {_listed(left)}."] if left else []
    if arrays:
        return Files(arrays, notes)
    _check_alike(path, files)
    paths, twins = one_of_each(files, cache)
    return Files(paths, notes + twins)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the paths of files below a folder, relative to it; links are followed."""
    seen = set()

    def refuse(error: OSError) -> None:
        raise error

    with reading(folder):
        for parent, inner, names in os.walk(folder, onerror=refuse, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:  # A link back: what is there was listed.
                inner.clear()
                continue
            seen.add(real)
            inner.sort()
            yield from (Path(parent, name).relative_to(folder) for name in names)


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _first_hidden(name: Path) -> Path:
    """Give the hidden file, or the hidden folder that a file lies in."""
    count = next(i for i, part in enumerate(name.parts, 1) if part.startswith("."))
    return Path(*name.parts[:count])


def _listed(names: Iterable[Path]) -> str:
    shown = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more


def _check_alike(folder: Path, files: list[Path]) -> None:
    plain = [file for file in files if suffix(file) not in tables.READERS]
    if plain and len(plain) < len(files):
        table = next(file for file in files if file not in plain)
        raise UserError(
            f"The folder {folder} mixes tables ({', '.join(tables.READERS)}) and "
            f"plain text: {table.name} is a table, "
            f"{_listed(Path(file.name) for file in plain)} none. Put them in two "
            "folders."
        )


def one_of_each(files: list[Path], cache: Path) -> Files:
    """Take one of several files that hold one text, such as x.txt and x.txt.gz.

    Raises:
        UserError: files of one name differ, or are tables of several formats.
    """
    groups: dict[Path, list[Path]] = {}
    for file in files:
        name = plain_name(file)
        if suffix(file) in tables.READERS:
            name = Path(name).stem
        groups.setdefault(file.with_name(name), []).append(file)
    paths, copies = [], []
    for twins in groups.values():
        # The plain one has the shortest name.
        first, *others = sorted(twins, key=lambda file: (len(file.name), file))
        for other in others:
            _check_same(first, other, cache)
            copies.append(Path(other.name))
        paths.append(first)
    said = f"Left out as copies under another compression: {_listed(copies)}."
    return Files(sorted(paths), [said] if copies else [])


def _check_same(first: Path, other: Path, cache: Path) -> None:
    if suffix(first) != suffix(other):
        raise UserError(
            f"{first} and {other.name} are one table in two formats, or two tables "
            "of one name. Move one elsewhere, or give it another name."
        )
    one, two = (measure(path, cache, text=False)["sha256"] for path in (first, other))
    if one != two:
        raise UserError(
            f"{first} and {other.name} hold different texts under one name. Move one "
            "elsewhere, or give it another name."
        )


def own_splits(files: list[Path], validation: float) -> list[str]:
    """Give the split that each file's name or folder names; empty is to be drawn.

    Where train and test are named, and validation is not, it is drawn from train.

    Raises:
        UserError: some files are named after a split, and others not.
    """
    splits = _named(files, tables.SPLITS | _SPLITS_TOO)
    if not all(splits):
        splits = _named(files, tables.SPLITS)
    if any(splits) and not all(splits):
        _refuse_unnamed(files, splits)
    if "train" not in splits or len(set(splits)) == 1:
        return [""] * len(files)
    drawn = "validation" not in splits and validation > 0
    return ["" if drawn and split == "train" else split for split in splits]


def _named(files: list[Path], known: Mapping[str, str]) -> list[str]:
    """The split that a word of each path says, of the outermost folder's first."""
    above, splits = os.path.commonpath([file.parent for file in files]), []
    for file in files:
        words = re.split(r"[^a-z]+", str(file.relative_to(above)).lower())
        splits.append(next((known[word] for word in words if word in known), ""))
    return splits


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
