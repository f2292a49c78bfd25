"""The table of results: what was published and what came out here."""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.runs.result import read_result

# (split, score): what the figures of a table are.
Measure = tuple[str, str]
DEFAULT: Measure = ("validation", "bits_per_byte")


@dataclass(frozen=True)
class Row:
    """The runs of one variant of one experiment.

    Attributes:
        name: "experiment" or "experiment:variant".
        results: one for each seed.
    """

    name: str
    results: tuple[dict, ...]

    @property
    def published(self) -> tuple[Measure, float] | None:
        """The published figure and what it measures."""
        found = self.results[0].get("published")
        return found and ((found["split"], found["score"]), found["value"])

    def figures(self, measure: Measure) -> list[float]:
        """The figure of each run that was scored so: at its end, else at its best."""
        split, score = measure
        scored = (
            result.get(split) or result.get(f"best_{split}") or {}
            for result in self.results
        )
        return [scores[score] for scores in scored if score in scores]

    def mean(self, name: str) -> float:
        """The mean over the runs of a number of their results."""
        return statistics.fmean(result[name] for result in self.results)


def rows_below(folder: Path) -> dict[str, list[Row]]:
    """Rows of all results below a folder, by corpus.

    Results lie as runs do: experiment/variant/seed<k>/result.json.

    Raises:
        UserError: when there are none.
    """
    found: dict[str, list[dict]] = defaultdict(list)
    for path in sorted(folder.rglob("seed*/result.json")):
        *_, name, variant, _, _ = path.parts
        found[name if variant == "base" else f"{name}:{variant}"].append(
            read_result(path.parent)
        )
    if not found:
        raise UserError(
            f"There are no results below {folder}: a result lies at "
            "EXPERIMENT/VARIANT/seed0/result.json, as in runs/."
        )
    corpora: dict[str, list[Row]] = defaultdict(list)
    for name, results in found.items():
        corpora[results[0]["corpus"]].append(Row(name, tuple(results)))
    return dict(corpora)


def measures(rows: list[Row]) -> list[Measure]:
    """What the published figures of some rows measure, each once."""
    found = [row.published[0] for row in rows if row.published]
    return list(dict.fromkeys(found)) or [DEFAULT]


def lines(corpus: str, rows: list[Row], measure: Measure) -> Iterator[str]:
    """The table of a corpus, best first, in 80 columns."""
    split, score = measure
    yield f"{corpus}, {split} {score.replace('_', ' ')}"
    head = ("published", "ours", "seeds", "params", "tokens", "time")
    yield f"  {'experiment':27}{head[0]:>10}{head[1]:>15}{head[2]:>6}" + "".join(
        f"{name:>{width}}" for name, width in zip(head[3:], (7, 7, 6), strict=True)
    )
    scored = [(row, row.figures(measure)) for row in rows]
    shown = sorted((f for f in scored if f[1]), key=lambda f: statistics.fmean(f[1]))
    for row, figures in shown:
        there = row.published and row.published[0] == measure
        published = f"{row.published[1]:g}" if row.published and there else "-"
        ours = f"{statistics.fmean(figures):#.4g}"
        if len(figures) > 1:
            ours += f" ± {statistics.stdev(figures):.2g}"
        yield (
            f"  {row.name:27}{published:>10}{ours:>15}{len(figures):>6}"
            f"{short(row.mean('parameters')):>7}{short(row.mean('tokens')):>7}"
            f"{duration(row.mean('seconds')):>6}"
        )


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
