"""Rankings of documents by query, as files in the form of TREC's runs."""

from collections.abc import Mapping
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import atomic_write, given_path
from lm_jax.text.reading import old_lines

Ranked = Mapping[str, tuple[str, ...]]
"""Documents of each query, the best first."""


def write_rankings(path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write a line for each: query, Q0, document, rank from 1, score, name.

    Args:
        path: of the file.
        scores: of the documents of each query, the best first.

    Raises:
        UserError: it can't be written.
    """
    lines = [
        f"{query} Q0 {document} {rank} {score:.6f} lm_jax\n"
        for query, found in scores.items()
        for rank, (document, score) in enumerate(found.items(), 1)
    ]
    atomic_write(path, "".join(lines))


def read_rankings(path: str) -> Ranked:
    """Read what `write_rankings` wrote, or another program.

    Raises:
        UserError: the file can't be read, or a line is of another form.
    """
    file = given_path(path, "data.negatives")
    found: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(old_lines(file), 1):
        fields = line.split()
        if len(fields) != 6 or not fields[3].isdecimal():
            raise UserError(
                f"{file}, line {number}: {line!r} is no query, Q0, document, rank, "
                "score and name with spaces between."
            )
        found.setdefault(fields[0], []).append((int(fields[3]), fields[2]))
    return {query: tuple(d for _, d in sorted(of)) for query, of in found.items()}
