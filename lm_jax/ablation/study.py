"""What an ablation asks, said before its first run."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flax.core import FrozenDict

from lm_jax.ablation.distributions import Range, range_of
from lm_jax.bounds import check, within
from lm_jax.errors import UserError, nearest
from lm_jax.experiment.checked import check_types
from lm_jax.experiment.value import RANDOM

BUDGETS = ("parameters", "flops", "time")
SEARCHES = ("spread", "random", "halving")


@dataclass(frozen=True)
class PublishedEffect:
    """What somebody published of a variant: its score less that of the reference.

    Attributes:
        effect: the difference, in units of the measure.
        source: where it stands, such as "Su et al. 2021, Table 2".
        measure: of the effect; None is the study's. Of another measure, only the
            direction can agree.

    Raises:
        UserError: the effect is 0 or not finite, or has no source; a field is of
            another type.
    """

    effect: float
    source: str
    measure: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be compared, or looked up."""
        check_types(self, "PublishedEffect")
        if not (math.isfinite(self.effect) and self.effect):
            raise UserError(
                f"PublishedEffect(effect={self.effect}): an effect is a difference "
                "other than 0: the variant's score less the reference's."
            )
        if not self.source.strip():
            raise UserError(
                "PublishedEffect(source=''): say where it stands, as in "
                "'Su et al. 2021, Table 2'."
            )


@dataclass(frozen=True)
class Study:
    """The question of a sweep: it stands in the experiment's file, before the runs.

    Scores are those at the end of training: no step is chosen by looking.

    Attributes:
        measure: of the validation split, such as "bits_per_byte"; None is the score
            that the experiment watches.
        seeds: of each variant: 0, 1, ... A verdict needs 5; 8 need no normal
            distribution.
        vary: what they move: "all" that is random, or one part alone: "order" of the
            data, "initial" values, or "dropout". The others are those of seed 0.
        smallest: the smallest difference that matters, in units of the measure; None
            never says that there is no difference.
        level: how often a difference is found, in any variant, where there is none.
        match: what each variant is given as much of as what it is compared with, to
            within 1%: "parameters", or a run's "flops" or "time" of steps, as measured
            here; None changes nothing.
        match_by: the fields that may be changed for it, below "model." or "budget":
            the first that reaches it alone; if none does, the last as near as it comes,
            and then those before it. () is the feed-forward's ratio and the width for
            parameters; else the budget.
        tune: what each field is drawn from that every variant is given its own best
            value of: {"schedule.peak": log_uniform(1e-4, 1e-2)}.
        trials: that each variant has for it: the same values for all, on seeds that
            are not compared.
        search: how values are searched. "spread": over the range, each trial trained
            to its end. "random": each value as likely as another, whatever the others
            are. "halving": as spread, and a trial that falls behind those before it is
            stopped early; see `lm_jax.ablation.search`. The last two need the extra
            `search` (Optuna).
        published: the effect that somebody published, by variant.
        target: a score that variants are meant to be better than: each mean is tested
            against it.

    Raises:
        UserError: a field is of another type; a number is outside its interval; fields
            don't go together.
    """

    measure: str | None = None
    # Exact permutation tests of more pairs take minutes.
    seeds: int = within("[2, 20]", 5)
    vary: str = "all"
    smallest: float | None = within("(0, inf)", None)
    level: float = within("(0, 1)", 0.05)
    match: str | None = None
    match_by: tuple[str, ...] | str = ()
    tune: Mapping[str, Any] = FrozenDict()
    # With fewer, each but one value is at the edge of what was tried.
    trials: int = within("[4, 1000]", 8)
    search: str = "spread"
    published: Mapping[str, PublishedEffect] = FrozenDict()
    target: float | None = within("(-inf, inf)", None)

    def __post_init__(self) -> None:
        """Refuse numbers that don't fit."""
        if self.seeds == 1:
            raise UserError(
                "1 seed can't tell a difference from chance: there is no spread, no "
                "interval, no verdict. 2 show direction and spread, 5 allow verdicts, "
                "8 without taking differences for normal. A run alone: `train`."
            )
        if isinstance(self.match_by, str):
            object.__setattr__(self, "match_by", (self.match_by,))
        check(self, "study")
        check_types(self, "study")
        if self.vary not in ("all", *RANDOM):
            there = nearest(self.vary, ("all", *RANDOM))
            raise UserError(f"study.vary '{self.vary}' is nothing random.{there}")
        _check_match(self)
        _check_tune(self)
        object.__setattr__(self, "tune", FrozenDict(self.tune))
        object.__setattr__(self, "published", FrozenDict(self.published))

    def written(self) -> dict[str, Any]:
        """Its fields as JSON has them."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        found["match_by"] = list(self.match_by)
        found["tune"] = {field: str(wide) for field, wide in self.tune.items()}
        found["published"] = {
            name: dataclasses.asdict(each) for name, each in self.published.items()
        }
        return found

    @classmethod
    def from_written(cls, found: Mapping[str, Any]) -> "Study":
        """What `written` was made of.

        Raises:
            TypeError: it is of another form.
            ValueError: it has a range that none was written as.
        """
        effects = found.get("published", {}).items()
        ranges = found.get("tune", {}).items()
        return cls(
            **{
                **found,
                "match_by": tuple(found.get("match_by", ())),
                "tune": {field: range_of(text) for field, text in ranges},
                "published": {name: PublishedEffect(**each) for name, each in effects},
            }
        )


def _check_match(study: Study) -> None:
    """Refuse a budget that there isn't, and fields that don't decide it.

    Raises:
        UserError: with what would do.
    """
    if study.match not in (None, *BUDGETS):
        there = nearest(str(study.match), BUDGETS)
        raise UserError(f"study.match '{study.match}' is no budget.{there}")
    if study.match_by and study.match is None:
        raise UserError("study.match_by needs study.match: what is to be as much?")
    for field in study.match_by:
        if study.match == "time" and field != "budget":
            raise UserError(
                f"study.match_by '{field}': time is matched by the steps alone, "
                '("budget",). For a model of another size match "flops".'
            )
        if study.match == "parameters" and field == "budget":
            raise UserError(
                "study.match_by 'budget' changes no parameter: give fields of the "
                'model, as in ("model.width",).'
            )
        if field != "budget" and not field.startswith("model."):
            raise UserError(
                f"study.match_by '{field}': give 'budget', or numbers of the model, as "
                'in ("model.feedforward.ratio", "model.layers").'
            )


def _check_tune(study: Study) -> None:
    """Refuse what is no range or search, and to tune what decides a matched budget.

    Raises:
        UserError: naming the field.
    """
    if study.search not in SEARCHES:
        there = nearest(str(study.search), SEARCHES)
        raise UserError(f"study.search '{study.search}' is no search.{there}")
    if study.search != "spread" and not study.tune:
        raise UserError(
            f"study.search='{study.search}' needs study.tune: what is searched?"
        )
    for field, wide in study.tune.items():
        if not isinstance(wide, Range):
            raise UserError(
                f"study.tune['{field}'] is {wide!r}: give a distribution, as in "
                "log_uniform(1e-4, 1e-2), uniform(0.0, 0.5) or integers(1, 4)."
            )
        if field == "seed":
            raise UserError("study.tune: the best seed is no recipe. Leave it out.")
        size = field.partition(".")[0] in ("model", "data", "batch", "budget")
        if study.match and size and not field.endswith("dropout"):
            raise UserError(
                f"study.tune['{field}'] would undo study.match='{study.match}': tune "
                "it, or match, not both."
            )
