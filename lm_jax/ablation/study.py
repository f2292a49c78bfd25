"""What an ablation asks, said before its first run."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flax.core import FrozenDict

from lm_jax.bounds import check, within
from lm_jax.errors import UserError


@dataclass(frozen=True)
class PublishedEffect:
    """What somebody published of a variant: its score less that of the reference.

    Attributes:
        effect: the difference, in units of the measure.
        source: where it stands, such as "Su et al. 2021, Table 2".
        measure: of the effect; None is the study's. Of another measure, only the
            direction can agree.

    Raises:
        UserError: the effect is 0 or not finite, or has no source.
    """

    effect: float
    source: str
    measure: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be compared, or looked up."""
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
        smallest: the smallest difference that matters, in units of the measure; None
            never says that there is no difference.
        level: how often a difference is found, in any variant, where there is none.
        published: the effect that somebody published, by variant.

    Raises:
        UserError: a number is outside its interval.
    """

    measure: str | None = None
    # Exact permutation tests of more pairs take minutes.
    seeds: int = within("[2, 20]", 5)
    smallest: float | None = within("(0, inf)", None)
    level: float = within("(0, 1)", 0.05)
    published: Mapping[str, PublishedEffect] = FrozenDict()

    def __post_init__(self) -> None:
        """Refuse numbers that don't fit."""
        if self.seeds == 1:
            raise UserError(
                "1 seed can't tell a difference from chance: there is no spread, no "
                "interval, no verdict. 2 show direction and spread, 5 allow verdicts, "
                "8 without taking differences for normal. A run alone: `train`."
            )
        check(self, "study")
        object.__setattr__(self, "published", FrozenDict(self.published))

    def written(self) -> dict[str, Any]:
        """As JSON has it; what was published stands there if anything was."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        found["published"] = {
            name: dataclasses.asdict(each) for name, each in self.published.items()
        }
        return {name: value for name, value in found.items() if value != {}}

    @classmethod
    def from_written(cls, found: Mapping[str, Any]) -> "Study":
        """What `written` was made of.

        Raises:
            TypeError: it is of another form.
        """
        effects = found.get("published", {}).items()
        published = {name: PublishedEffect(**each) for name, each in effects}
        return cls(**{**found, "published": published})
