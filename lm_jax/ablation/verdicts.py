"""What the differences of an ablation say, and what they can't."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lm_jax.ablation.paired import holm, permutation_test, t_test
from lm_jax.ablation.study import Study
from lm_jax.runs.pairs import spread

T_PAIRS = 5  # fewer give direction and spread, and no verdict
PERMUTATION_PAIRS = 8  # from here on no normal distribution is needed
BETTER, WORSE, INCONCLUSIVE = "better", "worse", "inconclusive"
TOO_FEW = "too few seeds"
NO_VERDICT = "no verdict"  # a tuned value is at the edge of what was tried

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
        verdict: "better", "worse", "no difference larger than d", "inconclusive", or
            "too few seeds"; in a report "no verdict" where a tuned value is at an edge.
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
    return f"no difference larger than {study.smallest:g}"
