"""Searches by Optuna: values at random, and trials that are stopped early.

Successive halving (Jamieson & Talwalkar 2016), one trial after another as in ASHA (Li
et al. 2020): at its first, third, ninth, ... watched evaluation a trial is judged
beside the trials of its variant before it, and stopped if it isn't among the best
third of those that came so far; the first is always among them. It is judged at a
learning rate that hasn't decayed yet, which favours what is quick at first: a known
weakness.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from zlib import crc32

from lm_jax.ablation.distributions import Point, Range
from lm_jax.errors import UserError
from lm_jax.platform import from_extra

FACTOR = 3  # of the trials that reach a rung one in so many goes on
RULE = (
    "By halving: each variant had the same values, seeds and rule, not the same steps. "
    "What was stopped early was judged at a rate that had not decayed yet."
)


def check_installed() -> None:
    """See that Optuna is there.

    Raises:
        UserError: how to get it.
    """
    _optuna()


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "study.search: 'random' and 'halving' need Optuna, and 'spread' nothing: "
            f"{from_extra('search')}"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def random_points(ranges: Mapping[str, Range], count: int) -> list[Point]:
    """Draw points at random, each whatever the others are (Bergstra & Bengio 2012).

    A field's values depend on its name alone: more trials have those of fewer, too.

    Args:
        ranges: by field.
        count: of the points.

    Raises:
        UserError: Optuna is not installed.
    """
    drawn = {field: _values(field, wide, count) for field, wide in ranges.items()}
    return [{field: drawn[field][k] for field in drawn} for k in range(count)]


def _values(field: str, wide: Range, count: int) -> list[float | int]:
    optuna = _optuna()
    kinds = optuna.distributions
    sampler = optuna.samplers.RandomSampler(seed=crc32(field.encode()))
    study = optuna.create_study(sampler=sampler)
    if wide.whole:
        kind = kinds.IntDistribution(wide.low, wide.high)
    else:
        kind = kinds.FloatDistribution(wide.low, wide.high, log=wide.log)
    values = (study.ask({field: kind}).params[field] for _ in range(count))
    return [value if wide.whole else wide.told(value) for value in values]


def falls_behind(rivals: Sequence[Sequence[float]], losses: Sequence[float]) -> bool:
    """Whether halving stops a trial at its last evaluation.

    The decision is a function of these losses: made again, it is the same.

    Args:
        rivals: the losses at the evaluations of each trial before it, in order.
        losses: those of the trial so far; before there is one, nothing stops it.

    Raises:
        UserError: Optuna is not installed.
    """
    optuna = _optuna()
    pruner = optuna.pruners.SuccessiveHalvingPruner(1, reduction_factor=FACTOR)
    study = optuna.create_study(pruner=pruner)
    for each in (*rivals, losses):
        trial, behind = study.ask(), False
        for evaluation, loss in enumerate(each, start=1):
            trial.report(loss, evaluation)
            behind = trial.should_prune()
    return behind
