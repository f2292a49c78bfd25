"""What proposals compete for, said before the first."""

from dataclasses import dataclass

from lm_jax.bounds import check, within
from lm_jax.experiment.checked import check_types


@dataclass(frozen=True)
class Contest:
    """What proposals compete for: it stands in an experiment file.

    The file's ``experiment`` is the first standing best. Either its budget is spent,
    and the score at the end decides; or a score is to be reached, and the seconds of
    training steps decide.

    Attributes:
        measure: of the validation split at the end of training, such as
            "bits_per_byte"; None is the score that the experiment watches.
        reach: what the measure must reach; a run that ends short of it has failed.
            None spends the experiment's budget.
        parameters: most that a model may have; None sets no limit.

    Raises:
        UserError: a field is of another type, or outside its interval.
    """

    measure: str | None = None
    reach: float | None = None
    parameters: int | None = within("[1, inf)", None)

    def __post_init__(self) -> None:
        """Refuse what can't be competed for."""
        check_types(self, "contest")
        check(self, "contest")
