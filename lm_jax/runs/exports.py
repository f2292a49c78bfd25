"""The table of results for other programs: CSV and Markdown."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from lm_jax.runs.directory import seed_of
from lm_jax.runs.figures import duration, short
from lm_jax.runs.rows import POINTS, Ended, Measure, Row, ways
from lm_jax.runs.table import groups, places, points, published, title, written

Tables = Iterable[tuple[str, list[Row], Measure]]
_ABOUT = ("corpus", "text", "split", "score", "seen_before_each", "experiment", "seed")
_FIGURES = ("published", "best", "best_step", "last", "last_step")
_COST = ("parameters", "tokens", "seconds", "run")


def write_csv(tables: Tables, stream: Any) -> None:
    """Write a line for each run and each way that it was scored, all digits.

    Args:
        tables: the corpus, its rows and the measure of each.
        stream: of text, is written to.
    """
    out = csv.DictWriter(stream, _ABOUT + _FIGURES + _COST, lineterminator="\n")
    out.writeheader()
    out.writerows(run_lines(tables))


def run_lines(tables: Tables) -> Iterator[dict[str, object]]:
    """What is known of each run and each way that it was scored."""
    for _, rows, measure in tables:
        about: dict[str, object] = {"split": measure[0], "score": measure[1]}
        for how in ways(rows, measure):
            for row in rows:
                known = published(row, measure, how)
                about["published"] = known if known != "-" else None
                about |= {"seen_before_each": how, "experiment": row.name}
                for run in row.runs:
                    if line := _line(run, measure, how):
                        yield about | line


def _line(run: Ended, measure: Measure, how: str) -> dict[str, object]:
    """What a line says of a run; nothing where it wasn't scored so."""
    best, last = (run.figure(measure, how, at) for at in POINTS)
    if best is None and last is None:
        return {}
    return {
        "corpus": run.result["corpus"],
        "text": run.result.get("text"),
        "seed": run.seed if run.seed is not None else seed_of(run.path),
        "best": best and best.value,
        "best_step": best and best.step,
        "last": last and last.value,
        "last_step": last and last.step,
        **{name: run.result[name] for name in _COST[:-1]},
        "run": run.path,
    }


def markdown(corpus: str, rows: list[Row], measure: Measure) -> Iterator[str]:
    """The lines of a table in Markdown, with its title before it."""
    found = groups(rows, measure)
    shown, digits = points(found), places(found)
    heads = ["experiment", "seen before each", "published"]
    heads += [*shown.values(), "seeds", "params", "tokens", "time"]
    yield f"**{title(corpus, measure)}**"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|---|---|{'---:|' * (len(heads) - 2)}"
    for group in found:
        for row, by_point in group.rows:
            cells = [row.name, group.how, published(row, measure, group.how)]
            cells += ["".join(written(by_point[at], row, digits)) for at in shown]
            cells += [str(len(row.runs)), short(row.mean("parameters"))]
            cells += [short(row.mean("tokens")), duration(row.mean("seconds"))]
            safe = [cell.replace("|", "\\|") for cell in cells]
            yield f"| {' | '.join(safe)} |"
