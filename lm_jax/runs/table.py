"""The table of results: what was published and what came out here."""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from lm_jax.errors import UserError
from lm_jax.runs.result import read_result

# (split, score): what the figures of a table are.
Measure = tuple[str, str]
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

    def figures(self, measure: Measure) -> list[float]:
        """The figure of each run that was scored so, all at their end or their best.

        At their end, where no more of them were scored at their best.
        """
        split, score = measure
        at_end, at_best = (
            [r[kind][score] for r in self.results if score in (r.get(kind) or {})]
            for kind in (split, f"best_{split}")
        )
        return at_best if len(at_best) > len(at_end) else at_end

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
    found = [m for m in wanted or DEFAULTS if any(row.figures(m) for row in rows)]
    return found or [LOSS]


def lines(corpus: str, rows: list[Row], measure: Measure) -> Iterator[str]:
    """The table of a corpus, best first, in 80 columns."""
    split, score = measure
    yield f"{corpus}, {split} {score.replace('_', ' ')}"
    head = ("published", "ours", "seeds", "params", "tokens", "time")
    yield f"  {'experiment':{_NAME}}{head[0]:>10}{head[1]:>15}{head[2]:>6}" + "".join(
        f"{name:>{width}}" for name, width in zip(head[3:], (7, 7, 6), strict=True)
    )
    scored = [(row, row.figures(measure)) for row in rows]
    shown = sorted(
        (f for f in scored if f[1]),
        key=lambda f: statistics.fmean(f[1]),
        reverse="accuracy" in score,
    )
    for row, figures in shown:
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
