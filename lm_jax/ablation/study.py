"""What an ablation asks, said before its first run."""

from dataclasses import dataclass

from lm_jax.bounds import check, within
from lm_jax.errors import UserError


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

    Raises:
        UserError: a number is outside its interval.
    """

    measure: str | None = None
    # Exact permutation tests of more pairs take minutes.
    seeds: int = within("[2, 20]", 5)
    smallest: float | None = within("(0, inf)", None)
    level: float = within("(0, 1)", 0.05)

    def __post_init__(self) -> None:
        """Refuse numbers that don't fit."""
        if self.seeds == 1:
            raise UserError(
                "1 seed can't tell a difference from chance: there is no spread, no "
                "interval, no verdict. 2 show direction and spread, 5 allow verdicts, "
                "8 without taking differences for normal. A run alone: `train`."
            )
        check(self, "study")
