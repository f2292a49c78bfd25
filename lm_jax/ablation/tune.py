"""Each variant at its own best: the trials that a sweep makes before it compares.

Points are drawn before the first run and are the same for all variants, which have
therefore the same budget. What is compared is trained anew, on other seeds.
"""

import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from flax.core import FrozenDict
from rich.cells import cell_len, set_cell_size

from lm_jax.ablation.distributions import Point
from lm_jax.ablation.plan import Cell, Plan, with_values
from lm_jax.ablation.search import FACTOR, RULE, falls_behind
from lm_jax.ablation.states import State, diverged_at, keep_pruned, pruned_at
from lm_jax.ablation.study import Study
from lm_jax.errors import UserError
from lm_jax.experiment import digest
from lm_jax.files import exclusive_write
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.result import find_scores, read_result
from lm_jax.training.progress import Progress

TUNED = "tuned.json"
THROUGH = ("ended", "diverged", "pruned")  # the states of a trial that was tried


class Chosen(NamedTuple):
    """What was best for a variant.

    Attributes:
        trial: its number.
        values: of the tuned fields.
        edges: of fields whose value is the smallest or largest that was tried, which:
            the best may lie beyond it.
        pruned: the step at which halving stopped a trial, by the trial's folder.
    """

    trial: int
    values: Point
    edges: dict[str, str]
    pruned: Mapping[str, int] = FrozenDict()


def trial_state(cell: Cell, state: State) -> State:
    """The state of a trial: one that diverged or was stopped early has been tried."""
    if state.word in ("stopped", "failed"):
        if (step := diverged_at(cell.run)) is not None:
            return State("diverged", f"at step {step}")
        if (step := pruned_at(cell.run)) is not None:
            return State("pruned", f"at step {step}")
    return state


def pruner_of(cell: Cell) -> Callable[[Progress], bool]:
    """What says at a trial's evaluations whether it is stopped there.

    It needs the files of the trials before, which are through, and nothing else: in
    any process, and at any later time, it says the same. What diverged is no rival.
    """
    rivals = [_losses(cell, run) for run in cell.rivals if diverged_at(run) is None]

    def prune(progress: Progress) -> bool:
        behind = bool(rivals) and falls_behind(rivals, progress.losses)
        if behind:
            step, loss = progress.validation[-1]
            told = f"{abs(loss)!r} is not among the best one in {FACTOR} so far."
            keep_pruned(cell.run, step, told)
        return behind

    return prune


def _losses(cell: Cell, run: Path) -> list[float]:
    """What a rival of a trial was known by at each evaluation; less is better."""
    evaluation = cell.experiment.evaluations[cell.experiment.watch]
    name = f"validation_{evaluation.watched}"
    found = [row[name] for row in read_metrics(run / "metrics.jsonl") if name in row]
    return [-score for score in found] if evaluation.larger_is_better else found


def choose(plan: Plan, states: Mapping[Cell, State]) -> dict[str, Chosen] | None:
    """The best trial of each variant, by the score that it watches at its end.

    Args:
        plan: whose trials have all been tried.
        states: of each.

    Returns:
        By variant; None while a trial is not through, or where all of one diverged.
    """
    if any(states[cell].word not in THROUGH for cell in plan.trials):
        return None
    losses: dict[str, dict[int, float]] = {each.name: {} for each in plan.variants}
    for cell in plan.trials:
        assert cell.trial is not None
        losses[cell.variant][cell.trial] = _loss(cell, states[cell])
    best = {name: min(found, key=found.__getitem__) for name, found in losses.items()}
    if not all(math.isfinite(losses[name][k]) for name, k in best.items()):
        return None
    return {
        name: Chosen(k, plan.points[k], _edges(plan.points, k), _pruned(plan, name))
        for name, k in best.items()
    }


def _pruned(plan: Plan, variant: str) -> dict[str, int]:
    """The trials of a variant that were stopped early, and where."""
    runs = [cell.run for cell in plan.trials if cell.variant == variant]
    steps = {run.name: pruned_at(run) for run in runs}
    return {name: step for name, step in steps.items() if step is not None}


def _loss(cell: Cell, state: State) -> float:
    """What a trial is known by: the smaller the better."""
    if state.word != "ended":
        return math.inf
    result = read_result(cell.run)
    score = watched_score(cell, result)
    loss = -score if result["larger_is_better"] else score
    return loss if math.isfinite(loss) else math.inf


def watched_score(cell: Cell, result: dict) -> float:
    """The score at the end of training that a run's own evaluation watches."""
    evaluation = cell.experiment.evaluations[cell.experiment.watch]
    return float(find_scores(result, "validation", "end")[str(evaluation.watched)])


def _edges(points: tuple[Point, ...], chosen: int) -> dict[str, str]:
    """Of which fields the chosen value is the smallest or largest of all."""
    found = {}
    for field, value in points[chosen].items():
        tried = [point[field] for point in points]
        if value in (min(tried), max(tried)):
            found[field] = "smallest" if value == min(tried) else "largest"
    return found


def tuned(plan: Plan, chosen: Mapping[str, Chosen]) -> Plan:
    """The plan with each variant at what was best for it."""
    variants = tuple(
        replace(each, experiment=with_values(each, chosen[each.name].values))
        for each in plan.variants
    )
    return replace(plan, variants=variants)


class Kept(NamedTuple):
    """What was tuned, as it is kept beside the plan.

    Attributes:
        chosen: what was best.
        recipe: the digest of the variant with these values.
    """

    chosen: Chosen
    recipe: str


def keep_chosen(plan: Plan, chosen: Mapping[str, Chosen]) -> None:
    """Write down what was chosen, before anything is trained with it.

    Args:
        plan: with each variant at what was chosen; see `tuned`.
        chosen: by variant.
    """
    found = {
        each.name: chosen[each.name]._asdict() | {"recipe": digest(each.experiment)}
        for each in plan.variants
    }
    text = json.dumps(found, indent=1, ensure_ascii=False)
    exclusive_write(plan.folder / TUNED, text + "\n")


def read_chosen(folder: Path) -> dict[str, Kept]:
    """What `keep_chosen` wrote, by variant; nothing where it hasn't yet.

    Raises:
        UserError: it can't be read.
    """
    path = folder / TUNED
    try:
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return {
            name: Kept(
                Chosen(
                    each["trial"],
                    each["values"],
                    each["edges"],
                    # Earlier files of this format know of none.
                    each.get("pruned", {}),
                ),
                recipe,
            )
            for name, each in found.items()
            for recipe in [each["recipe"]]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} can't be read: {error!r}. Move it away and sweep again: it is "
            "made of the trials, which are whole without it."
        ) from error


def lines(study: Study, chosen: Mapping[str, Chosen], width: int) -> Iterator[str]:
    """What was chosen for each variant, and how far it is from the range's ends."""
    first, last = study.seeds, study.seeds + study.trials - 1
    yield f"Tuned by {study.trials} trials of each (seeds {first} to {last}):"
    room = max(map(cell_len, chosen))
    if study.search == "halving":
        yield from textwrap.wrap(
            RULE, width, initial_indent="  ", subsequent_indent="  "
        )
    for name, found in chosen.items():
        before = f"  {set_cell_size(name, room)}  "
        for field, value in found.values.items():
            said = f"{field} {value:g}, {_place(study, field, value)}"
            if field in found.edges:
                said += f": THE {found.edges[field].upper()} TRIED"
            yield from textwrap.wrap(
                said, width, initial_indent=before, subsequent_indent=" " * (room + 4)
            )
        if study.search == "halving":
            yield " " * (room + 4) + _stopped(study, found.pruned)


def _stopped(study: Study, pruned: Mapping[str, int]) -> str:
    """How many trials of a variant were stopped early, and after how many steps."""
    many = f"{len(pruned)} of {study.trials} trials were stopped early"
    steps = sorted(set(pruned.values()))
    return f"{many}, at steps {steps[0]} to {steps[-1]}" if steps else many


def _place(study: Study, field: str, value: float) -> str:
    """How far a value is from the nearer end of its range."""
    wide = study.tune[field]
    share = wide.share(value)
    end = "low" if share < 0.5 else "high"
    logs = " (logs)" if wide.log else ""
    return f"{min(share, 1 - share):.0%} of {wide} from its {end} end{logs}"


def at_edge(chosen: Mapping[str, Chosen], names: tuple[str, ...]) -> str:
    """Say why variants that are compared have no verdict; "" if that is no reason."""
    told = [
        f"{field} of {name} is the {edge} tried"
        for name in names
        for field, edge in (chosen[name].edges if name in chosen else {}).items()
    ]
    if not told:
        return ""
    return (
        f"{'; '.join(told)}: the best may lie beyond. Widen the range (study.tune) in "
        "another folder (--out)."
    )
