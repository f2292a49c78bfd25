"""An n-gram model becomes an ARPA file; see `arpa_reading` for the format."""

import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from lm_jax.counting import FittedNGram
from lm_jax.counting.scratch import Progress, pieces, telling
from lm_jax.errors import UserError
from lm_jax.files import whole_file
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.words import WordTokenizer, as_written

START, END = "<s>", "</s>"
# What stands for the logarithm of 0.
_NEVER = "-99"


def write_arpa(
    fitted: FittedNGram,
    tokenizer: Trained,
    path: Path,
    progress: Progress | None = None,
) -> None:
    """Write an ARPA file: nine digits of each number; compressed if it ends in .gz.

    Args:
        fitted: the model.
        tokenizer: of its tokens. The one that ends sentences is </s>, and <s> as a
            context.
        path: of the file.
        progress: told (description, n-grams written, n-grams in all).

    Raises:
        UserError: the format can't hold the model or its tokens.
    """
    end = _end(fitted)
    names = _names(tokenizer, end)
    sizes = [fitted.vocab_size + 1, *(len(t.keys) - 1 for t in fitted.tables[1:])]
    if end is None:
        sizes[0] += 1
    told = telling(progress, "writing the n-grams", sum(sizes))
    with whole_file(path) as temporary:
        opening = gzip.open if path.suffix == ".gz" else open
        with opening(temporary, "wt", encoding="utf-8", newline="\n") as file:
            file.write("\\data\\\n")
            file.writelines(f"ngram {n}={size}\n" for n, size in enumerate(sizes, 1))
            for order in range(1, fitted.order + 1):
                file.write(f"\n\\{order}-grams:\n")
                lines = _longer(fitted, order, names, end)
                for part in _unigrams(fitted, names, end) if order == 1 else lines:
                    file.writelines(part)
                    told(len(part))
            file.write("\n\\end\\\n")


def _end(fitted: FittedNGram) -> int | None:
    """Give the token that ends a sentence.

    Raises:
        UserError: there are several, or the model doesn't back off.
    """
    if not fitted.backs_off:
        raise UserError(
            "An ARPA file backs off to shorter contexts, and this model doesn't: "
            "KneserNey() does."
        )
    ends = np.atleast_1d([] if fitted.end_id is None else fitted.end_id)
    if len(ends) > 1:
        raise UserError(
            "Sentences and documents end by tokens of their own here, and an ARPA file "
            "knows sentences alone: count a corpus without documents."
        )
    return int(ends[0]) if len(ends) else None


def _names(tokenizer: Trained, end: int | None) -> list[str]:
    """Spell each token as it stands after others.

    Raises:
        UserError: one can't be spelled in a line of words.
    """
    names = list(tokenizer.symbols(range(tokenizer.vocab_size)))
    if isinstance(tokenizer, WordTokenizer):
        special = {tokenizer.unknown_id, end}
        names = [n if i in special else as_written(n) for i, n in enumerate(names)]
    if end is not None:
        names[end] = END
    for i, name in enumerate(names):
        plain = name.encode().split() == [name.encode()] and name not in (START, END)
        if i != end and not plain:
            raise UserError(
                f"The token {name!r} can't stand in an ARPA file, whose words have no "
                f"white space and are not {START} or {END}."
            )
    if len(set(names)) < len(names):
        raise UserError("Two tokens are spelled alike: an ARPA file would mix them up.")
    return names


def _unigrams(
    fitted: FittedNGram, names: Sequence[str], end: int | None
) -> Iterator[list[str]]:
    """Give the lines of all tokens, those that were never seen too."""
    table, size = fitted.tables[0], fitted.vocab_size
    seen = table.keys[:-1]
    p = np.full(size, table.rest[0] / size)
    p[seen] = table.probabilities[:-1]
    rest = np.ones(size)
    if fitted.order > 1:
        rest[seen] = fitted.tables[1].rest[:-1]
    lines = _lines(p, names, rest)
    begin = np.array([1.0 if end is None else rest[end]])
    more = [START] if end is not None else [START, END]
    yield lines + [line for name in more for line in _lines(np.zeros(1), [name], begin)]


def _longer(
    fitted: FittedNGram, order: int, names: Sequence[str], end: int | None
) -> Iterator[list[str]]:
    """Give the lines of the n-grams of an order above 1, part by part."""
    table = fitted.tables[order - 1]
    first = [START if i == end else name for i, name in enumerate(names)]
    for part in pieces(len(table.keys) - 1):
        ids = _tokens(fitted, order, np.arange(part.start, part.stop)).tolist()
        grams = [
            " ".join([first[gram[0]], *(names[i] for i in gram[1:])]) for gram in ids
        ]
        rest = np.ones(len(grams))
        if order < fitted.order:
            rest = fitted.tables[order].rest[part]
        yield _lines(table.probabilities[part], grams, rest)


def _tokens(
    fitted: FittedNGram, order: int, grams: Int64[np.ndarray, " grams"]
) -> Int64[np.ndarray, "grams order"]:
    """Give the tokens of n-grams: the last of each, and then those of its context."""
    columns = []
    for table in reversed(fitted.tables[:order]):
        keys = table.keys[grams]
        grams = keys // fitted.vocab_size
        columns.append(keys - grams * fitted.vocab_size)
    return np.stack(columns[::-1], axis=1)


def _lines(
    p: Float64[np.ndarray, " grams"],
    grams: Sequence[str],
    rest: Float64[np.ndarray, " grams"],
) -> list[str]:
    """Give a line for each n-gram; a back-off of 1 is left out."""
    return [
        f"{number}\t{gram}\n" if none else f"{number}\t{gram}\t{back}\n"
        for number, gram, none, back in zip(
            _log10(p), grams, (rest == 1).tolist(), _log10(rest), strict=True
        )
    ]


def _log10(values: Float64[np.ndarray, " _"]) -> list[str]:
    with np.errstate(divide="ignore"):
        logs = np.log10(values).tolist()
    return [f"{log:.9g}" if log > -math.inf else _NEVER for log in logs]
