"""The results below a folder: runs, rows of their seeds, and what they measured."""

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError, nearest
from lm_jax.runs.directory import folders_with, is_given, seed_of
from lm_jax.runs.result import At, ended_result, own_entries, read_result
from lm_jax.streams import spelled

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
POINTS: tuple[At, ...] = ("best", "end")
# Parts of the names of scores of which less is better.
_LESS = ("loss", "perplexity", "bits_per_byte", "error")


class Figure(NamedTuple):
    """A score of one run.

    Attributes:
        value: of the score.
        step: of the parameters.
        changed: whether other code gave it than the run was trained with.
    """

    value: float
    step: int
    changed: bool


@dataclass(frozen=True)
class Ended:
    """A run that has a result.

    Attributes:
        path: of its directory.
        result: what result.json says.
    """

    path: Path
    result: dict

    @property
    def seed(self) -> int | None:
        """Of its folder's name; None where that is no seed<k>."""
        found = re.fullmatch(r"seed(\d+)", self.path.name)
        return int(found[1]) if found else None

    def step(self, at: At) -> int | None:
        """The last step, or the best."""
        best = self.result.get("best") or {}
        return self.result["steps"] if at == "end" else best.get("step")

    def entries(self) -> Iterator[tuple[str, dict]]:
        """How each score of its own text was made, and the entry; the last made last.

        That is what was seen before each token; and the evaluation, where that is not
        the one by which the run's best was chosen.
        """
        for entry in own_entries(self.result):
            other = entry["evaluation"] != self.result["watch"]
            more = f"; by {entry['evaluation']}" * other
            yield f"{entry['policy']}{more}", entry

    def figure(self, measure: Measure, how: str, at: At) -> Figure | None:
        """The figure at its last or its best step, if it was scored so."""
        split, score = measure
        found = None
        for made, entry in self.entries():
            here = (made, entry["split"], entry["step"]) == (how, split, self.step(at))
            if here and score in entry["scores"]:
                changed = self._changed(entry)
                found = Figure(entry["scores"][score], entry["step"], changed)
        return found

    def _changed(self, entry: dict) -> bool:
        known = {code.get("sources") for code in self.result.get("trained_with", ())}
        sources = (entry.get("code") or {}).get("sources")
        return len(known) > 1 or bool(known and sources and sources not in known)


@dataclass(frozen=True)
class Row:
    """The runs of one variant of one experiment.

    Attributes:
        name: "experiment", "experiment:variant" or the folder of a lone run.
        runs: one for each seed.
    """

    name: str
    runs: tuple[Ended, ...]

    @property
    def experiment(self) -> Path:
        """The folder of its experiment; of a lone run, its own."""
        path = self.runs[0].path
        return path if self.runs[0].seed is None else path.parents[1]

    @property
    def variant(self) -> str:
        """The variant of its experiment."""
        return self.runs[0].path.parent.name

    @property
    def published(self) -> tuple[Measure, float] | None:
        """The published figure and what it measures."""
        for run in self.runs:
            if found := run.result.get("published"):
                return (found["split"], found["score"]), found["value"]
        return None

    @property
    def policy(self) -> str:
        """What was seen before each token in training's own evaluations."""
        return self.runs[0].result["policy"]

    def figures(self, measure: Measure, how: str, at: At) -> list[Figure]:
        """The figure of each run that was scored so."""
        found = (run.figure(measure, how, at) for run in self.runs)
        return [figure for figure in found if figure is not None]

    def by_seed(self, measure: Measure, how: str, at: At) -> dict[int, float]:
        """The figures of the runs that have a seed."""
        found = {run.seed: run.figure(measure, how, at) for run in self.runs}
        return {k: f.value for k, f in found.items() if f and k is not None}

    def mean(self, name: str) -> float:
        """The mean over the runs of a number of their results."""
        return sum(run.result[name] for run in self.runs) / len(self.runs)


def results_below(folder: Path) -> tuple[list[Ended], list[str]]:
    """Read all results below a folder, links to folders too.

    Returns:
        The runs, and a message for each result that cannot be read.

    Raises:
        UserError: when there are none.
    """
    runs, problems = [], []
    for path in folders_with("result.json", folder.resolve()):
        try:
            if "corpus" not in read_result(path):
                continue  # other programs write files of this name too
            run = Ended(path, ended_result(path))
        except UserError as error:
            problems.append(str(error))
            continue
        if None not in (run.seed, own := seed_of(path)) and own != run.seed:
            problems.append(
                f"{path} has seed {own} in its experiment.json: a copy is no further "
                "seed."
            )
        else:
            runs.append(run)
    if not runs:
        raise UserError("\n".join(problems) or _nothing_below(folder))
    return runs, problems


def unended_below(folder: Path) -> int:
    """Count the runs below a folder that have no result yet, and will have one."""
    begun = folders_with("experiment.json", folder.resolve())
    going = [path for path in begun if not (path / "result.json").exists()]
    return sum(not is_given(path) for path in going)


def _nothing_below(folder: Path) -> str:
    begun = unended_below(folder)
    many = f"{begun} runs have" if begun > 1 else "one run has"
    found = (
        f"{many} begun there and none has ended; `runs` lists them."
        if begun
        else "a result lies at EXPERIMENT/VARIANT/seed0/result.json."
    )
    return (
        f"There are no results below {folder}: {found} `table --published` shows those "
        "that come with lm_jax."
    )


def rows_of(runs: Iterable[Ended]) -> dict[str, list[Row]]:
    """Put runs into rows, by the name of their corpus and its text.

    They lie as runs do: experiment/variant/seed<k>. Seeds with another recipe or text
    are a row of their own, as is a run that lies elsewhere.
    """
    runs = list(runs)
    texts = _texts(runs)
    found: dict[tuple[Path, str, str], list[Ended]] = defaultdict(list)
    for run in runs:
        place = run.path if run.seed is None else run.path.parent
        found[place, texts[run.path], _recipe(run.result)].append(run)
    recipes = Counter(place for place, *_ in found)
    corpora: dict[str, list[Row]] = defaultdict(list)
    for (place, text, _), members in found.items():
        members.sort(key=lambda run: (run.seed or 0, run.path))
        name = _name(members[0])
        if recipes[place] > 1:
            name = " ".join([name, *(spelled(run.path.name) for run in members)])
        corpora[text].append(Row(name, tuple(members)))
    return {text: _told_apart(rows) for text, rows in corpora.items()}


def _texts(runs: list[Ended]) -> dict[Path, str]:
    """What the text of each run is called, by its path.

    That is the name of its corpus, and a number where texts of one name differ. A
    result that doesn't know its text is of the one text of that name, if it is one.
    """
    known: dict[str, dict[str, None]] = defaultdict(dict)
    for run in runs:
        if text := run.result.get("text"):
            known[run.result["corpus"]][text] = None

    def called(corpus: str, text: str | None) -> str:
        texts = list(known[corpus])
        if len(texts) < 2:
            return corpus
        number = f"text {texts.index(text) + 1} of {len(texts)}" if text else "unknown"
        return f"{corpus} ({number}: content or split differs)"

    return {r.path: called(r.result["corpus"], r.result.get("text")) for r in runs}


def _told_apart(rows: list[Row]) -> list[Row]:
    """Rows of one name get the folders before it that differ, as in "sweep/lstm"."""
    alike: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.name].append(row)

    def named(row: Row) -> Row:
        same = alike[row.name]
        if len(same) == 1:
            return row
        above = [list(each.runs[0].path.parts) for each in same]
        common = len(os.path.commonprefix(above))
        own = row.runs[0].path.parts[common:-3] or row.runs[0].path.parts[common:-1]
        return Row("/".join([*map(spelled, own), row.name]), row.runs)

    return [named(row) for row in rows]


def _name(run: Ended) -> str:
    """Of the folders that a run lies in, as a terminal may show them."""
    if run.seed is None or len(run.path.parts) < 4:
        return spelled(run.path.name)
    *_, name, variant, _ = map(spelled, run.path.parts)
    return name if variant == "base" else f"{name}:{variant}"


def _recipe(result: dict) -> str:
    """What the seeds of a row share: the digest, or what older results tell."""
    told = ("corpus", "model", "parameters", "steps", "published", "policy")
    names = ("recipe", "corpus", "policy") if "recipe" in result else told
    return json.dumps([result.get(name) for name in names], sort_keys=True)


def ways(rows: Iterable[Row], measure: Measure) -> list[str]:
    """How some rows were scored by a measure, at a last or best step: each way once."""
    found: dict[str, None] = {}
    for row in rows:
        for run in row.runs:
            for how, entry in run.entries():
                there = entry["split"] == measure[0] and measure[1] in entry["scores"]
                if there and entry["step"] in map(run.step, POINTS):
                    found[how] = None
    return list(found)


def measures(rows: list[Row]) -> list[Measure]:
    """What the published figures of some rows measure, each once.

    Where no row was scored so, what rows of each task are compared by.
    """
    wanted = dict.fromkeys(row.published[0] for row in rows if row.published)
    return [m for m in wanted or DEFAULTS if ways(rows, m)] or [LOSS]


def all_measures(rows: Iterable[Row]) -> list[Measure]:
    """Everything that rows were scored by, at a last or best step."""
    found = {
        (entry["split"], score)
        for row in rows
        for run in row.runs
        for _, entry in run.entries()
        if entry["step"] in map(run.step, POINTS)
        for score in entry["scores"]
    }
    return sorted(found - {(split, "tokens") for split, _ in found})


def as_measure(text: str, there: list[Measure]) -> Measure:
    """Read "test perplexity" or "validation bits per byte".

    Raises:
        UserError: when it is none of those that are there; lists them.
    """
    split, _, score = " ".join(text.split()).partition(" ")
    measure = split, score.replace(" ", "_")
    if measure not in there:
        names = [" ".join(each) for each in there]
        # Without a split it is no wish to look at the test.
        known = split in {each for each, _ in there}
        wanted = measure if known else ("validation", "_".join(text.split()))
        raise UserError(
            f"No run here was scored by '{text}': a measure is a split and a score."
            f"{nearest(' '.join(wanted), names)} `evaluate RUN --split test` scores "
            "another split."
        )
    return measure


def larger_is_better(rows: Sequence[Row], measure: Measure) -> bool:
    """Whether more of a score is better: as a run that is judged by it says.

    Then as an evaluation of a run says of the score that it watches. Else its name
    tells: less of a loss or an error is better, and more of all else that is scored
    here (BLEU, F1, recall, the accuracy of a task).
    """
    for row in rows:
        for run in row.runs:
            if measure[1] in (run.result.get("best") or {}):
                known = run.result.get("larger_is_better")
                if known is not None:
                    return known
    for row in rows:
        for run in row.runs:
            if measure[1] in (said := run.result.get("directions") or {}):
                return said[measure[1]]
    return not any(name in measure[1] for name in _LESS)
