"""What the differences of an ablation say, and what they can't."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lm_jax.ablation.study import PublishedEffect, Study
from lm_jax.runs.pairs import spread
from lm_jax.runs.rows import larger_is_better
from lm_jax.statistics.paired import holm, permutation_test, t_test

T_PAIRS = 5  # fewer give direction and spread, and no verdict
PERMUTATION_PAIRS = 8  # from here on no normal distribution is needed
BETTER, WORSE, INCONCLUSIVE = "better", "worse", "inconclusive"
TOO_FEW = "too few seeds"
NO_VERDICT = "no verdict"  # of a tuned value at its edge, or an unfair budget
NOT_PLANNED = "no plan, no verdict"
_NO_DIFFERENCE = "no difference larger than"

Differences = Float[np.ndarray, "variants pairs"]


@dataclass(frozen=True)
class Comparison:
    """A variant less what it is compared with, seed by seed.

    Attributes:
        differences: of each seed.
        mean, deviation: of the differences.
        interval: half of the interval of the mean; those of all variants of a study
            hold together, as often as the study's level says.
        t, permutation: p of the two tests, of this variant alone.
        verdict: "better", "worse", "no difference larger than d", "inconclusive" or
            "too few seeds"; "no verdict" where a tuned value is at an edge, or budgets
            differ or were cut short; in a report, of runs that are in no sweep, "no
            plan, no verdict".
    """

    differences: tuple[float, ...]
    mean: float
    deviation: float
    interval: float
    t: float
    permutation: float
    verdict: str


def compare(
    differences: Differences, study: Study, larger_is_better: bool
) -> list[Comparison]:
    """Judge the variants of a study, all together.

    Verdicts rest on Student's t from 5 pairs on, on the permutation test alone from 8,
    by Holm's procedure over the variants. Where the whole interval lies within the
    smallest difference that matters, that is the verdict, whatever p is; the intervals
    are Bonferroni's.

    Args:
        differences: of each variant, over two pairs or more, all finite.
        study: level and smallest difference.
        larger_is_better: of the measure.
    """
    variants, pairs = differences.shape
    t, permutation = t_test(differences), permutation_test(differences)
    adjusted = holm(permutation if pairs >= PERMUTATION_PAIRS else t)
    made = []
    for k, found in enumerate(differences.tolist()):
        about = spread(found, study.level / variants)
        verdict = BETTER if (about.mean > 0) == larger_is_better else WORSE
        if pairs < T_PAIRS:
            verdict = TOO_FEW
        elif abs(about.mean) + about.interval <= (study.smallest or -math.inf):
            verdict = no_difference(study)
        elif adjusted[k] >= study.level:
            verdict = INCONCLUSIVE
        tests = float(t[k]), float(permutation[k])
        made.append(Comparison(tuple(found), *about, *tests, verdict))
    return made


def no_difference(study: Study) -> str:
    """The verdict that nothing differs by what matters."""
    return f"{_NO_DIFFERENCE} {study.smallest:g}"


def agreement(effect: PublishedEffect, found: Comparison, measure: str) -> str:
    """Whether what was published and what was found agree, in words.

    They do only where there is a verdict: in direction where both are better or both
    worse, in size where the published effect lies in our interval.

    Args:
        effect: that was published.
        found: of the same variant.
        measure: of what was found.
    """
    same = effect.measure in (None, measure)
    inside = abs(effect.effect - found.mean) <= found.interval
    if found.verdict not in (BETTER, WORSE):
        beyond = abs(effect.effect) > abs(found.mean) + found.interval
        smaller = found.verdict.startswith(_NO_DIFFERENCE) and same and beyond
        return "ours is smaller" if smaller else "can't tell"
    ours = found.mean > 0
    if not same:  # of which more may be better, or less
        ours = (found.verdict == BETTER) == larger_is_better(
            [], ("validation", str(effect.measure))
        )
    if ours != (effect.effect > 0):
        return "the opposite direction"
    if not same:
        return "direction agrees"
    if inside:
        return "direction and size agree"
    smaller = abs(found.mean) < abs(effect.effect)
    return f"direction agrees, ours is {'smaller' if smaller else 'larger'}"
