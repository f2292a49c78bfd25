"""The table of results: what was published and what came out here."""

import math
import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size

from lm_jax.runs.figures import decimals, duration, figure, short
from lm_jax.runs.pairs import Difference, differences
from lm_jax.runs.result import At
from lm_jax.runs.rows import POINTS, Figure, Measure, Row, larger_is_better, ways

HEADS: dict[At, str] = {"best": "best step", "end": "last step"}
_BOTH = "best = last"
_CHANGED = (
    "* Trained or scored by several versions of the code; the runs' result.json and "
    "environment.json say which."
)
_LACKING = (
    "-: the parameters of that step were not scored so. `evaluate RUN --split {split}` "
    "scores those of the best step, and with --step N others."
)

_UNKNOWN = "-, at the {head}: no best step of the run is known."


class Cell(NamedTuple):
    """The figures of a row at its best or last steps; no seeds: it wasn't scored so.

    Attributes:
        mean: over the seeds.
        spread: their sample standard deviation; None of one.
        seeds: that were scored so.
        changed: whether code other than a run's gave one of them.
    """

    mean: float = math.nan
    spread: float | None = None
    seeds: int = 0
    changed: bool = False


@dataclass(frozen=True)
class Group:
    """Rows that were scored in one way, best first.

    Attributes:
        how: what was seen before each token.
        rows: each with its cells, by where in training.
        pairs: differences between them, where seeds pair.
    """

    how: str
    rows: list[tuple[Row, dict[At, Cell]]]
    pairs: list[Difference]


def groups(rows: list[Row], measure: Measure) -> list[Group]:
    """Part rows by how they were scored: what was scored alike stands together.

    A row stands in each group that it was scored as. The group of the best figure
    comes first.
    """
    better = -1.0 if larger_is_better(rows, measure) else 1.0

    def rank(cells: dict[At, Cell]) -> float:
        means = [better * cell.mean for cell in cells.values() if cell.seeds]
        return min((x for x in means if not math.isnan(x)), default=math.inf)

    found = []
    for how in ways(rows, measure):
        cells = [
            (row, {at: _cell(row.figures(measure, how, at)) for at in POINTS})
            for row in rows
        ]
        scored = [pair for pair in cells if any(c.seeds for c in pair[1].values())]
        scored.sort(key=lambda pair: rank(pair[1]))
        pairs = list(differences([row for row, _ in scored], measure, how))
        found.append(Group(how, scored, pairs))
    return sorted(found, key=lambda group: rank(group.rows[0][1]))


def _cell(figures: list[Figure]) -> Cell:
    if not figures:
        return Cell()
    values = [each.value for each in figures]
    finite = all(map(math.isfinite, values))
    mean = statistics.fmean(values) if finite else sum(values) / len(values)
    spread = statistics.stdev(values) if finite and len(values) > 1 else None
    return Cell(mean, spread, len(values), any(each.changed for each in figures))


def title(corpus: str, measure: Measure) -> str:
    """The title of a table."""
    return f"{corpus}, {' '.join(measure).replace('_', ' ')}"


def points(found: list[Group]) -> dict[At, str]:
    """The columns that some row has a figure in, and their heads.

    Where the best step of every run is its last, there is one column.
    """
    rows = [pair for group in found for pair in group.rows]
    runs = [run for row, _ in rows for run in row.runs]
    if all(run.step("best") == run.step("end") for run in runs):
        return {"end": _BOTH}
    shown = [at for at in POINTS if any(cells[at].seeds for _, cells in rows)]
    return {at: HEADS[at] for at in shown}


def places(found: list[Group]) -> int:
    """The decimals of all figures of a table."""
    cells = [cell for g in found for _, cs in g.rows for cell in cs.values()]
    means = [cell.mean for cell in cells if cell.seeds]
    return decimals(means, [cell.spread for cell in cells if cell.spread])


def written(cell: Cell, row: Row, digits: int) -> tuple[str, str]:
    """A cell's mean, and what follows it."""
    if not cell.seeds:
        return "-", ""
    after = "" if cell.spread is None else f" ± {figure(cell.spread, digits)}"
    if cell.seeds < len(row.runs):
        after += f" ({cell.seeds} of {len(row.runs)})"
    return figure(cell.mean, digits), after + "*" * cell.changed


def published(row: Row, measure: Measure, how: str) -> str:
    """The published figure as it was published, where it is of this measure."""
    known = row.published
    there = known and known[0] == measure and row.policy == how
    return f"{known[1]:g}" if known and there else "-"


def lines(
    corpus: str, rows: list[Row], measure: Measure, width: int = 80
) -> Iterator[str]:
    """The table of a corpus, best first.

    What was scored in another way stands apart, and what is of the best step has
    another column than what is of the last. A name that is too long for its column has
    a line of its own.

    Args:
        corpus: the text.
        rows: of its runs.
        measure: what the figures are.
        width: columns of the screen.
    """
    found = groups(rows, measure)
    head, *body = _columns(found, measure)
    names = [cell_len(row.name) + 2 for group in found for row, _ in group.rows]
    free = width - len(head)
    room = max([n for n in names if n <= free], default=6)
    yield from textwrap.wrap(title(corpus, measure), width)
    yield " " * room + head
    rest = iter(body)
    for group in found:
        yield from textwrap.wrap(
            f"seen before each: {group.how}", width, subsequent_indent="    "
        )
        for row, _ in group.rows:
            yield from _named(row.name, room, width, next(rest))
        yield from _differences(group.pairs, width)
    if any(c.changed for g in found for _, cells in g.rows for c in cells.values()):
        yield from textwrap.wrap(_CHANGED, width)
    if _lacks(found):
        told = _LACKING.format(split=measure[0])
        yield from textwrap.wrap(told, width, break_on_hyphens=False)
    if "best" in points(found) and any(
        not cells["best"].seeds and all(run.step("best") is None for run in row.runs)
        for group in found
        for row, cells in group.rows
    ):
        yield from textwrap.wrap(_UNKNOWN.format(head=HEADS["best"]), width)


def _lacks(found: list[Group]) -> bool:
    """Whether a row has no figure of a step that could be scored."""
    rows = [pair for group in found for pair in group.rows]
    return any(
        not cells[at].seeds and any(run.step(at) is not None for run in row.runs)
        for at in points(found)
        for row, cells in rows
    )


def _named(name: str, room: int, width: int, rest: str) -> Iterator[str]:
    """A line of the table; two or more where the name doesn't fit its column."""
    if cell_len(name) + 2 <= room:
        yield "  " + set_cell_size(name, room - 2) + rest
        return
    yield from (f"  {part}" for part in chop_cells(name, width - 2))
    yield " " * room + rest


def _columns(found: list[Group], measure: Measure) -> list[str]:
    """The head and each row, without the name: columns as wide as they need."""
    rows = [(group, row) for group in found for row, _ in group.rows]
    known = [published(row, measure, group.how) for group, row in rows]
    columns = [["published", *_decimal_points(known)]] if {*known} - {"-"} else []
    for at, head in points(found).items():
        columns.append([head, *_aligned(found, at, places(found))])
    columns += [
        ["seeds", *(str(len(row.runs)) for _, row in rows)],
        ["params", *(short(row.mean("parameters")) for _, row in rows)],
        ["tokens", *(short(row.mean("tokens")) for _, row in rows)],
        ["time", *(duration(row.mean("seconds")) for _, row in rows)],
    ]
    widths = [max(map(len, column)) for column in columns]
    return [
        "".join(f" {cell:>{n}}" for cell, n in zip(line, widths, strict=True))
        for line in zip(*columns, strict=True)
    ]


def _aligned(found: list[Group], at: At, digits: int) -> list[str]:
    """The figures of a column, their points and their spreads below each other."""
    cells = [
        written(cells[at], row, digits) for group in found for row, cells in group.rows
    ]
    cells = [(mean, rest.replace("± ", "±")) for mean, rest in cells]
    after = max((len(rest) for _, rest in cells), default=0)
    return [mean + rest.ljust(after) for mean, rest in cells]


def _decimal_points(texts: list[str]) -> list[str]:
    """Numbers with their points below each other."""
    after = max((len(text.partition(".")[2]) for text in texts), default=0)

    def filled(text: str) -> str:
        whole, point, rest = text.partition(".")
        gap = after - len(rest) + (0 if point else bool(after))
        return text if text == "-" else text + " " * gap

    return [filled(text) for text in texts]


def _differences(found: list[Difference], width: int) -> Iterator[str]:
    """The paired differences of a group, a line or two each."""
    digits = decimals([each.mean for each in found], [each.deviation for each in found])
    for other, at in dict.fromkeys((each.other.name, each.at) for each in found):
        told = f"  minus {other}, paired by seed, at the {HEADS[at]}:"
        yield from textwrap.wrap(told, width, subsequent_indent="    ")
        for each in found:
            if (each.other.name, each.at) == (other, at):
                yield from _difference(each, digits, width)


def _difference(each: Difference, digits: int, width: int) -> Iterator[str]:
    low, high = each.mean - each.interval, each.mean + each.interval
    runs = [len(row.runs) for row in (each.row, each.other)]
    of = f", of {runs[0]} and {runs[1]}" if {*runs} != {each.seeds} else ""
    told = (
        f"{each.mean:+.{digits}f} ± {each.deviation:.{digits}f}, 95% interval of the "
        f"mean {low:+.{digits}f} to {high:+.{digits}f} ({each.seeds} seeds{of})"
    )
    name = f"    {each.row.name}"
    if cell_len(name) + 2 + len(told) <= width:
        yield f"{name}  {told}"
        return
    yield from (f"    {part}" for part in chop_cells(each.row.name, width - 4))
    indent = " " * 6
    yield from textwrap.wrap(
        told, width, initial_indent=indent, subsequent_indent=indent
    )
