"""Two folders of runs, of one variant each: paired by seed, and judged."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.ablation.study import Study
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import AnyExperiment, read
from lm_jax.platform import called
from lm_jax.runs.directory import NOT_TRAINED, is_given, runs_below
from lm_jax.runs.figures import decimals, figure
from lm_jax.runs.rows import (
    Measure,
    Row,
    all_measures,
    larger_is_better,
    results_below,
    rows_of,
    ways,
)
from lm_jax.runs.trials import is_trial
from lm_jax.statistics.budgets import Side, unfair
from lm_jax.statistics.items import OverItems, over_items
from lm_jax.statistics.planned import Planned, planned, shared
from lm_jax.statistics.planned import notes as notes_of_sweeps
from lm_jax.statistics.report import Report
from lm_jax.statistics.verdicts import (
    INCONCLUSIVE,
    NO_VERDICT,
    Comparison,
    compare,
)
from lm_jax.statistics.words import basis, detected, over
from lm_jax.training.alike import SEEN, TOKENS, kept, unlike

_MOST = 20  # exact permutations of more pairs take minutes


@dataclass(frozen=True)
class Pairs:
    """The scores of two variants by the seeds that both have, and what they say.

    Attributes:
        a, b: the folders.
        measure: split and score, at the end of training.
        seen: before each token that was scored; "" is as in training.
        seeds: of the pairs.
        scores: of a and of b, in the order of the seeds.
        found: b less a, judged.
        items: the same over the items of the split; None where runs didn't keep them.
        level: that it was judged at.
        notes: what else a reader of the verdict should know.
    """

    a: Path
    b: Path
    measure: Measure
    seen: str
    seeds: tuple[int, ...]
    scores: tuple[tuple[float, ...], tuple[float, ...]]
    found: Comparison
    items: OverItems | None
    level: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `compare --json` prints."""
        found, (split, score) = self.found, self.measure
        a, b = self.scores
        return {
            "a": str(self.a),
            "b": str(self.b),
            "split": split,
            "measure": score,
            "seen": self.seen,
            "seeds": self.seeds,
            "scores": {"a": a, "b": b},
            "means": {"a": float(np.mean(a)), "b": float(np.mean(b))},
            "difference": found.mean,
            "deviation": found.deviation,
            "interval": [found.mean - found.interval, found.mean + found.interval],
            "p": {"t": found.t, "permutation": found.permutation},
            "items": self.items and self.items._asdict(),
            "level": self.level,
            "verdict": found.verdict,
            "notes": self.notes,
        }

    def lines(self) -> Iterator[str]:
        """The same for people; long sentences are not wrapped."""
        found, (split, score) = self.found, self.measure
        deviations = [float(np.std(each, ddof=1)) for each in self.scores]
        digits = decimals([x for each in self.scores for x in each], deviations)
        seeds = " ".join(map(str, self.seeds))
        how = f"; seen: {self.seen}" if self.seen else ""
        yield f"{split} {score.replace('_', ' ')} at the end, seeds {seeds}{how}"
        both = zip("AB", (self.a, self.b), self.scores, deviations, strict=True)
        for letter, folder, scores, deviation in both:
            mean = figure(float(np.mean(scores)), digits)
            yield f"  {letter} {mean}, sd {figure(deviation, digits)}: {folder}"
        digits = decimals([found.mean], [found.deviation])
        low, high = found.mean - found.interval, found.mean + found.interval
        yield (
            f"  B less A {found.mean:+.{digits}f}, "
            f"{100 * (1 - self.level):g}% interval {low:+.{digits}f} to "
            f"{high:+.{digits}f}"
        )
        t, permuted = f"{found.t:.2g}", f"{found.permutation:.2g}"
        yield f"  p {t} by Student's t, {permuted} by permutation"
        if self.items is not None:
            yield f"B less A {over(self.items, self.level)}"
        told, pairs = f"B against A: {found.verdict}.", len(self.seeds)
        if found.verdict == INCONCLUSIVE:
            told += detected(pairs, self.level, found.deviation)
        yield told
        yield basis(pairs, self.level)


def compare_folders(
    a: Path,
    b: Path,
    score: str | None = None,
    split: str = "validation",
    level: float | None = None,
    smallest: float | None = None,
    seen: str = "",
) -> Pairs:
    """Judge the runs of one folder against those of another.

    Args:
        a, b: a folder of the runs of one variant each: its seed0, seed1, ...
        score: such as "bits_per_byte"; None is that of the sweep that planned both, or
            what the runs watch.
        split: that was scored.
        level: how often a difference is found where there is none; None is that of the
            sweep, or 0.05.
        smallest: the smallest difference that matters, in units of the score; None is
            that of the sweep, where it asked for this score.
        seen: before each token that is scored, as a later `evaluate` said: "disjoint
            windows of 256 tokens"; "" is as in training.

    Raises:
        UserError: a folder holds several variants, or a run that has not ended; a
            sweep that planned its runs lacks some; they are scored otherwise; fewer
            than 2 seeds are common to both.
    """
    rows, sweeps = (_row(a), _row(b)), (planned(a), planned(b))
    sweep = shared(*sweeps)
    measure = split, score or (sweep.measure if sweep else _watched(rows[0]))
    study = _study(sweep, None if seen else measure, level, smallest)
    _check_alike(a, b, rows, measure[1] == "bits_per_byte", seen)
    scores = tuple(_scores(row, measure, seen) for row in rows)
    seeds = sorted(scores[0].keys() & scores[1].keys())
    if not 2 <= len(seeds) <= _MOST:
        raise UserError(
            f"{a} has seeds {_seeds(scores[0])}, {b} has {_seeds(scores[1])}: they "
            f"are compared by 2 to {_MOST} that both have."
        )
    first, second = (tuple(found[seed] for seed in seeds) for found in scores)
    differences = np.array([second]) - np.array([first])
    (found,) = compare(differences, study, larger_is_better(rows, measure))
    withheld = [f"No verdict: {why}" for why in _withheld(rows, sweeps)]
    if withheld:
        found = replace(found, verdict=NO_VERDICT)
    told = _notes(rows, scores, measure, seen)
    notes = (*told, *withheld, *notes_of_sweeps(*sweeps))
    scored = tuple(seeds), (first, second), found
    items = None if seen else _items(rows, seeds, measure, study.level)
    return Pairs(a, b, measure, seen, *scored, items, study.level, notes)


def _study(
    sweep: Report | None,
    measure: Measure | None,
    level: float | None,
    smallest: float | None,
) -> Study:
    """What is asked: as was said, else as the sweep that planned both asked it.

    Its smallest difference is of its own measure; None is another one.
    """
    planned = sweep.study if sweep else Study()
    if smallest is None and sweep and measure == ("validation", sweep.measure):
        smallest = planned.smallest
    level = planned.level if level is None else level
    return Study(level=level, smallest=smallest)


def _withheld(
    rows: tuple[Row, Row], sweeps: tuple[Planned | None, Planned | None]
) -> Iterator[str]:
    """Say why the scores give no verdict."""
    yield from (each.edge for each in sweeps if each and each.edge)
    sweep = shared(*sweeps)
    b, a = Side("B", rows[1].runs), Side("A", rows[0].runs)
    yield from unfair(b, a, sweep.study.match if sweep else None)


def _items(
    rows: tuple[Row, Row], seeds: list[int], measure: Measure, level: float
) -> OverItems | None:
    """Compare the runs of some seeds item by item, where they kept items."""
    there, here = ({run.seed: run for run in row.runs} for row in rows)
    return over_items([(there[k], here[k]) for k in seeds], measure, level)


def _row(folder: Path) -> Row:
    """The runs of a folder, without those that a sweep only tuned by.

    Raises:
        UserError: they are of several variants, or one has not ended.
    """
    runs, problems = results_below(folder)
    runs = [run for run in runs if not is_trial(run.path)]
    if problems:
        raise UserError("\n".join(problems))
    if not runs:
        raise UserError(
            f"{folder} holds trials of a sweep that is still tuning, and no run that "
            "is compared yet."
        )
    ended = {run.path for run in runs}
    there = [run for run in runs_below(folder.resolve()) if not is_trial(run)]
    if going := [run for run in there if run not in ended]:
        if is_given(going[0]):
            raise UserError(f"{going[0]} {NOT_TRAINED}.")
        raise UserError(
            f"{going[0]} has not ended: there is no verdict while a run is missing. "
            f"`{called()} runs {folder}` says how far each is."
        )
    rows = [row for rows in rows_of(runs).values() for row in rows]
    if len(rows) > 1:
        names = ", ".join(row.name for row in rows[:5])
        raise UserError(
            f"{folder} holds runs of {len(rows)} recipes or texts ({names}): give the "
            "folder of one, with its seed0, seed1, ..."
        )
    (row,) = rows
    if len({run.result["steps"] for run in row.runs}) > 1:
        told = ", ".join(f"{r.path.name} {r.result['steps']}" for r in row.runs)
        raise UserError(
            f"The runs of {folder} ended after different numbers of steps ({told}): "
            "only runs of their whole budget are compared. Train without patience."
        )
    return row


def _watched(row: Row) -> str:
    """The score that the best checkpoint of a run is chosen by."""
    best = row.runs[0].result.get("best") or {}
    return next((name for name in best if name != "step"), "loss")


def _scores(row: Row, measure: Measure, seen: str) -> dict[int, float]:
    """The scores at the end, by seed.

    Raises:
        UserError: a run was not scored so, or its score is not finite.
    """
    found = row.by_seed(measure, seen or row.policy, "end")
    for run in row.runs:
        if run.seed is None:
            raise UserError(
                f"{run.path} is called otherwise than by its seed: runs are paired by "
                "the names of their folders. Train with --run FOLDER/seed0, "
                "FOLDER/seed1, ..."
            )
        if run.seed not in found and seen:
            raise UserError(
                f"{run.path} has no '{' '.join(measure)}' at its last step of which "
                f"'{seen}' was seen before each token."
                f"{nearest(seen, ways([row], measure))} `{called()} evaluate "
                f"{run.path} --step {run.result['steps']}` makes it, with --context, "
                "--stride or --cache."
            )
        if run.seed not in found:
            names = [" ".join(each) for each in all_measures([row])]
            raise UserError(
                f"{run.path} has no '{' '.join(measure)}' at its last step."
                f"{nearest(' '.join(measure), names)} `{called()} evaluate {run.path} "
                f"--split {measure[0]} --step {run.result['steps']}` makes it."
            )
        if not math.isfinite(found[run.seed]):
            raise UserError(
                f"{run.path}: its {' '.join(measure)} is {found[run.seed]}, and no "
                "mean can be taken of that."
            )
    return found


def _check_alike(
    a: Path, b: Path, rows: tuple[Row, Row], bytewise: bool, seen: str
) -> None:
    """Refuse to compare what is scored otherwise.

    Args:
        a, b: the folders.
        rows: their runs.
        bytewise: whether the score doesn't depend on the tokens.
        seen: before each token; "" is as in training.

    Raises:
        UserError: with the first thing that differs.
    """
    there, here = (_scored(row) | ({SEEN: seen} if seen else {}) for row in rows)
    different = unlike(there, here, bytewise)
    if different and different.name == TOKENS:
        raise UserError(
            f"{b} can't be compared with {a} by what it is scored: their tokens are "
            "others, by their tokenizers or by how the text was split. `--measure "
            "bits_per_byte` depends on no tokens."
        )
    if different:
        raise UserError(
            f"{b} can't be compared with {a}: {different.name}: {different.a} there, "
            f"{different.b} here. The difference of their scores would be one of that."
        )


def _scored(row: Row) -> dict[str, Any]:
    """What two variants must share to be compared, by name; None is not known."""
    result, run = row.runs[0].result, row.runs[0].path
    experiment = read(run) if (run / "experiment.json").exists() else None
    more = {
        "digest of the text": result.get("text"),
        "seeds that one program trains": _together(experiment),
    }
    return more | kept(run, result)


def _together(experiment: AnyExperiment | None) -> int | None:
    """How many seeds were trained at once: it decides how sums are rounded."""
    execution = getattr(experiment, "execution", None)
    return execution and execution.together


def _notes(
    rows: tuple[Row, Row],
    scores: tuple[dict[int, float], ...],
    measure: Measure,
    seen: str,
) -> Iterator[str]:
    """What a reader of the verdict should know."""
    if scores[0].keys() != scores[1].keys():
        alone = scores[0].keys() ^ scores[1].keys()
        yield f"Seeds {_seeds(alone)} are in one of them only, and don't count."
    recipes = {run.result.get("recipe") for row in rows for run in row.runs}
    if len(recipes) == 1 and None not in recipes:
        yield "A and B are of one recipe."
    codes = {
        str(code.get("sources"))
        for row in rows
        for run in row.runs
        for code in run.result.get("trained_with", ())
    }
    if len(codes) > 1:
        yield f"Their runs were made by different code of lm_jax: {_seeds(codes)}."
    elif any(
        each.changed
        for row in rows
        for each in row.figures(measure, seen or row.policy, "end")
    ):
        yield "Some scores are of other code than their runs, by a later `evaluate`."


def _seeds(found: Any) -> str:
    return ", ".join(map(str, sorted(found)))
