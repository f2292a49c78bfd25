"""The table of results: what was published and what came out here."""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from lm_jax.errors import UserError
from lm_jax.runs.result import At, find_scores, read_result

# (split, score): what the figures of a table are.
Measure = tuple[str, str]
# How a table says when the parameters were as they were scored.
_POINTS: dict[At, str] = {"end": "at the end", "best": "of the best checkpoint"}
# Without a published figure: what tells most of each kind of task.
DEFAULTS: tuple[Measure, ...] = (
    ("validation", "bits_per_byte"),
    ("validation", "masked_accuracy"),
    ("validation", "accuracy"),
)
# What every result has.
LOSS: Measure = ("validation", "loss")
_NAME = 27  # Columns of a row's name.


@dataclass(frozen=True)
class Row:
    """The runs of one variant of one experiment.

    Attributes:
        name: "experiment", "experiment:variant" or the folder of a lone run.
        results: one for each seed.
    """

    name: str
    results: tuple[dict, ...]

    @property
    def published(self) -> tuple[Measure, float] | None:
        """The published figure and what it measures."""
        for result in self.results:
            if found := result.get("published"):
                return (found["split"], found["score"]), found["value"]
        return None

    def figures(self, measure: Measure, at: At) -> list[float]:
        """The figure of each run that was scored so."""
        split, score = measure
        found = [find_scores(result, split, at) for result in self.results]
        return [scores[score] for scores in found if score in scores]

    def mean(self, name: str) -> float:
        """The mean over the runs of a number of their results."""
        return statistics.fmean(result[name] for result in self.results)


def rows_below(folder: Path) -> dict[str, list[Row]]:
    """Rows of all results below a folder, by corpus.

    Results lie as runs do: experiment/variant/seed<k>/result.json. Seeds with
    another recipe are a row of their own, as is a result that lies elsewhere.

    Raises:
        UserError: when there are none, or one cannot be read.
    """
    found: dict[tuple[Path, str], list[tuple[Path, dict]]] = defaultdict(list)
    for path in sorted(folder.resolve().rglob("result.json")):
        run, result = path.parent, read_result(path.parent)
        if "corpus" in result:  # Other programs write files of this name too.
            place = run.parent if _is_seed(run) else run
            found[place, _recipe(result)].append((run, result))
    if not found:
        raise UserError(
            f"There are no results below {folder}: a result lies at "
            "EXPERIMENT/VARIANT/seed0/result.json, as in runs/."
        )
    recipes = Counter(place for place, _ in found)
    corpora: dict[str, list[Row]] = defaultdict(list)
    for (place, _), members in found.items():
        runs, results = zip(*members, strict=True)
        name = _name(runs[0])
        if recipes[place] > 1:
            name = " ".join([name, *(run.name for run in runs)])
        corpora[results[0]["corpus"]].append(Row(name, results))
    return dict(corpora)


def _is_seed(run: Path) -> bool:
    return run.name.startswith("seed") and len(run.parts) > 3


def _name(run: Path) -> str:
    if not _is_seed(run):
        return run.name
    *_, name, variant, _ = run.parts
    return name if variant == "base" else f"{name}:{variant}"


def _recipe(result: dict) -> str:
    """What the seeds of a row share: the digest, or what older results tell."""
    if "recipe" in result:
        return result["recipe"]
    told = ("corpus", "model", "parameters", "steps", "published")
    return json.dumps([result.get(name) for name in told], sort_keys=True)


def measures(rows: list[Row]) -> list[Measure]:
    """What the published figures of some rows measure, each once.

    Where no row was scored so, what rows of each task are compared by.
    """
    wanted = dict.fromkeys(row.published[0] for row in rows if row.published)
    found = [
        m for m in wanted or DEFAULTS if any(shown for _, shown in parted(rows, m))
    ]
    return found or [LOSS]


def parted(
    rows: list[Row], measure: Measure
) -> Iterator[tuple[At, list[tuple[Row, list[float]]]]]:
    """Part rows into those scored at their end and those scored at their best.

    A row is where more of its runs were scored; where that is both, it is with the
    others of its corpus.
    """
    found = [(r, r.figures(measure, "end"), r.figures(measure, "best")) for r in rows]
    found = [each for each in found if each[1] or each[2]]
    some_best = any(len(best) > len(end) for _, end, best in found)

    def of_end(end: list[float], best: list[float]) -> bool:
        return len(end) > len(best) or (len(end) == len(best) and not some_best)

    yield "end", [(row, end) for row, end, best in found if of_end(end, best)]
    yield "best", [(row, best) for row, end, best in found if not of_end(end, best)]


def lines(corpus: str, rows: list[Row], measure: Measure) -> Iterator[str]:
    """The tables of a corpus, best first, in 80 columns.

    What was scored at the end and what was scored at its best stand apart.
    """
    for at, scored in parted(rows, measure):
        if scored:
            yield f"{corpus}, {' '.join(measure).replace('_', ' ')}, {_POINTS[at]}"
            yield from _table(scored, measure)


def _table(scored: list[tuple[Row, list[float]]], measure: Measure) -> Iterator[str]:
    head = ("published", "ours", "seeds", "params", "tokens", "time")
    yield f"  {'experiment':{_NAME}}{head[0]:>10}{head[1]:>15}{head[2]:>6}" + "".join(
        f"{name:>{width}}" for name, width in zip(head[3:], (7, 7, 6), strict=True)
    )
    better_first = sorted(
        scored,
        key=lambda pair: statistics.fmean(pair[1]),
        reverse="accuracy" in measure[1],
    )
    for row, figures in better_first:
        there = row.published and row.published[0] == measure
        published = f"{row.published[1]:g}" if row.published and there else "-"
        ours = f"{statistics.fmean(figures):#.4g}"
        if len(figures) > 1:
            ours += f" ± {statistics.stdev(figures):.2g}"
        yield (
            f"  {_fitting(row.name)}{published:>10}{ours:>15}{len(figures):>6}"
            f"{short(row.mean('parameters')):>7}{short(row.mean('tokens')):>7}"
            f"{duration(row.mean('seconds')):>6}"
        )


def _fitting(name: str) -> str:
    """A name in the columns that it has."""
    cut = name if cell_len(name) <= _NAME else set_cell_size(name, _NAME - 1) + "…"
    return set_cell_size(cut, _NAME)


def short(number: int | float) -> str:
    """A count in three digits: 12.1M."""
    for factor, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{suffix}"
    return f"{number:.3g}"


def duration(seconds: int | float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.1f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{seconds / 3600:.1f}h"


def as_measure(text: str) -> Measure:
    """Read "test perplexity" or "validation bits_per_byte".

    Raises:
        UserError: when it isn't a split and a score.
    """
    split, _, score = text.replace("bits per byte", "bits_per_byte").partition(" ")
    if split not in ("train", "validation", "test") or not score:
        raise UserError(
            f"'{text}' is no measure. Write a split and a score, as in "
            "'test perplexity' or 'validation bits_per_byte'."
        )
    return split, score
