"""Minimal pairs: two sentences that differ in what is probed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.errors import UserError, nearest
from lm_jax.text.opening import check_regular
from lm_jax.text.tables import kind_of, named_rows

# Columns of the two sentences, that first which is to be the likelier.
_SENTENCES = {
    "BLiMP": ("sentence_good", "sentence_bad"),
    "CrowS-Pairs": ("sent_more", "sent_less"),
}
# Columns that tell of what kind a pair is, where they are there.
_KINDS = {
    "BLiMP": ("category", "field", "linguistics_term", "UID"),
    "CrowS-Pairs": ("bias_type", "stereo_antistereo"),
}


class Pair(NamedTuple):
    """Two sentences.

    Attributes:
        good: the one that is to be the likelier: the grammatical one; of CrowS-Pairs
            the more stereotyped one.
        bad: the other.
        kinds: of the pair, by the column that tells them.
        where: it stands: the file and the line.
    """

    good: str
    bad: str
    kinds: Mapping[str, str]
    where: str


def read_pairs(path: Path, category: str = "") -> list[Pair]:
    """Read the pairs of a file, in its order.

    Args:
        path: jsonl, csv or tsv, with the columns of BLiMP or of CrowS-Pairs.
        category: the column that tells of what kind a pair is; "" takes those that
            there are of the form's own, but never two that tell the same.

    Raises:
        UserError: there is none, it has no such columns, or a sentence is empty;
            naming the file and the line.
    """
    check_regular(path)
    pairs = list(_pairs(path, category))
    if not pairs:
        raise UserError(f"{path} has no pair of sentences.")
    return pairs


def _pairs(path: Path, category: str) -> Iterator[Pair]:
    form = ""
    kinds: tuple[str, ...] = ()
    for line, row in named_rows(path):
        where = f"{path}, line {line}"
        if not form:
            form = _form_of(row, where)
            kinds = _kinds(row, form, category, where)
        good, bad = (_sentence(row, name, where) for name in _SENTENCES[form])
        told = {name: str(_value(row, name, where)) for name in kinds}
        yield Pair(good, bad, told, where)


def _form_of(row: Mapping[str, Any], where: str) -> str:
    for form, names in _SENTENCES.items():
        if set(names) <= set(row):
            return form
    wanted = " or ".join(", ".join(names) for names in _SENTENCES.values())
    raise UserError(
        f"{where} has no two sentences of a pair, which are in the columns {wanted}. "
        f"There is: {', '.join(map(str, row))}."
    )


def _kinds(
    row: Mapping[str, Any], form: str, category: str, where: str
) -> tuple[str, ...]:
    """The columns that pairs are told apart by."""
    if category:
        if category not in row:
            raise UserError(
                f"{where} has no column '{category}'.{nearest(category, row)}"
            )
        return (category,)
    there = tuple(name for name in _KINDS[form] if name in row)
    return there if form == "CrowS-Pairs" else there[:1]


def _value(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise UserError(f"{where} has no column '{name}'.{nearest(name, row)}")
    return row[name]


def _sentence(row: Mapping[str, Any], name: str, where: str) -> str:
    text = _value(row, name, where)
    if not isinstance(text, str):
        raise UserError(f"{where}: '{name}' holds no text but {kind_of(text)}.")
    if not text.strip():
        raise UserError(f"{where}: '{name}' is empty: there is nothing to score.")
    return text


def by_kind(pairs: Sequence[Pair]) -> Iterator[tuple[str, str, list[int]]]:
    """Give each column, each kind that it tells, and the numbers of its pairs."""
    for name in pairs[0].kinds:
        kinds: dict[str, list[int]] = {}
        for number, pair in enumerate(pairs):
            kinds.setdefault(pair.kinds[name], []).append(number)
        for kind in sorted(kinds):
            yield name, kind, kinds[kind]
