"""Where two experiments differ once their data is known, and what that forbids."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lm_jax.errors import UserError
from lm_jax.experiment import Execution, Experiment, read, watched_as
from lm_jax.runs.checkpoints import steps_of
from lm_jax.runs.claim import check_data, read_data
from lm_jax.runs.scored import corpus_of
from lm_jax.runs.sealed import verify
from lm_jax.selectors import path_name
from lm_jax.training.resolved import Setup
from lm_jax.training.scoring import seen_before
from lm_jax.training.setup import CACHE, set_up

TOKENS = "text, its split and its tokenizer"  # of no matter to bits per byte
SEEN = "seen before each token"
_POINTS = (0.0, 0.05, 0.25, 0.5, 0.75, 1.0)


class Pair(NamedTuple):
    """A value of two experiments, in words; None where one has none."""

    name: str
    a: str | None
    b: str | None


def measured(setup: Setup) -> dict[str, str]:
    """What two experiments must share for their scores to be compared, by name."""
    experiment = setup.experiment
    return {
        "text": corpus_of(experiment.data),
        TOKENS: setup.data.digest,
        "bytes of the validation split": str(
            setup.data.splits["validation"].coded.bytes
        ),
        SEEN: seen_before(setup.data),
        "evaluation": watched_as(experiment),
    }


def kept(run: Path, result: dict) -> dict[str, Any]:
    """What `measured` tells, as a run keeps it; None is not known.

    Args:
        run: its directory.
        result: of the run.
    """
    experiment = read(run) if (run / "experiment.json").exists() else None
    about = read_data(run)
    return {
        "text": result["corpus"],
        TOKENS: about.get("digest"),
        "bytes of the validation split": about.get("bytes"),
        SEEN: result["policy"],
        "evaluation": experiment and watched_as(experiment),
    }


def unlike(a: dict[str, Any], b: dict[str, Any], bytewise: bool) -> Pair | None:
    """The first thing that two experiments are measured by otherwise.

    Args:
        a, b: as `measured` or `kept` gives them.
        bytewise: whether the measure doesn't depend on the tokens.
    """
    for name, value in a.items():
        other = b[name]
        unknown = None in (value, other) or (bytewise and name == TOKENS)
        if not unknown and value != other:
            return Pair(name, str(value), str(other))
    return None


def resolved(experiment: Experiment, progress: Any = None) -> Setup:
    """Set an experiment up, on whatever devices are here.

    Raises:
        UserError: its text can't be read, or it doesn't fit.
    """
    here = replace(experiment, execution=Execution())
    return set_up(here, progress=progress, fresh=False)


def amounts(a: Setup, b: Setup) -> list[tuple[str, float | int, float | int]]:
    """What two experiments amount to: each by its name."""

    def of(setup: Setup) -> dict[str, float | int]:
        tokens = setup.units.tokens
        return {
            "parameters": setup.parameters,
            "FLOPs a token": setup.units.flops / tokens,
            "tokens a step": tokens,
            "steps": setup.total,
            "tokens": tokens * setup.total,
            "FLOPs": setup.units.flops * setup.total,
        }

    other = of(b)
    return [(name, value, other[name]) for name, value in of(a).items()]


def parameters(a: Setup, b: Setup) -> list[Pair]:
    """The parameters that only one of two models has, or that have another shape."""

    def of(setup: Setup) -> dict[str, str]:
        leaves = jax.tree.leaves_with_path(setup.saved_shapes().params)
        return {
            path_name(path): " x ".join(map(str, leaf.shape)) for path, leaf in leaves
        }

    return list(_pairs(of(a), of(b)))


def rates(a: Setup, b: Setup) -> list[Pair]:
    """The learning rates of two schedules, at the few points where they differ."""
    last = max(a.total, b.total)
    steps = sorted({max(1, round(share * last)) for share in _POINTS})

    def of(setup: Setup) -> dict[str, str]:
        made = [step for step in steps if step <= setup.total]
        return {
            f"step {step:,}": f"{float(setup.curve(jnp.asarray(step - 1))):.3g}"
            for step in made
        }

    return list(_pairs(of(a), of(b)))


def damages(run: Path) -> Iterator[str]:
    """Say which files of a run, or of its data, are not what they were.

    A text that can't be read any more is none of them: what it was is known.
    """
    folders = [run / "checkpoints" / str(step) for step in steps_of(run)]
    checks: list[Callable[[], None]] = [partial(verify, each) for each in folders]
    with suppress(UserError):
        checks.append(partial(check_data, read(run).data.prepare(CACHE), run))
    for check in checks:
        try:
            check()
        except UserError as error:
            yield str(error)


def _pairs(a: dict[str, str], b: dict[str, str]) -> Iterator[Pair]:
    for name in a | b:
        if a.get(name) != b.get(name):
            yield Pair(name, a.get(name), b.get(name))


def obstacles(a: Setup, b: Setup) -> Iterator[str]:
    """Say why the scores of two experiments can't be compared; nothing where they can.

    Bits per byte can be where the tokens alone differ.
    """
    tokens = [setup.units.tokens * setup.total for setup in (a, b)]
    yield from _obstacles(measured(a), measured(b), tokens)


def kept_obstacles(
    runs: tuple[Path, Path], results: tuple[dict, dict]
) -> Iterator[str]:
    """As `obstacles`, of two runs that have ended, by what they keep."""
    a, b = map(kept, runs, results)
    yield from _obstacles(a, b, [result["tokens"] for result in results])


def _obstacles(
    here: dict[str, Any], there: dict[str, Any], tokens: list[int]
) -> Iterator[str]:
    if different := unlike(here, there, bytewise=True):
        yield f"{different.name}: {different.a}, and {different.b}"
    elif different := unlike(here, there, bytewise=False):
        yield f"{different.name} differ: only bits per byte can be compared"
    if not math.isclose(*tokens, rel_tol=0.01):
        yield f"one is trained on {tokens[0]:,} tokens, the other on {tokens[1]:,}"
