"""A run that is opened to be asked: its name, its model and, if it writes, template."""

from dataclasses import dataclass
from pathlib import Path

from lm_jax.data import AnswerPairs, Answers, Conversations
from lm_jax.data.template import Template, plain_template
from lm_jax.errors import UserError
from lm_jax.runs.directory import find_run, title_of
from lm_jax.runs.model import CountedModel, NeuralModel, load_model
from lm_jax.serving.programs import narrowed
from lm_jax.tokenizers import Trained


@dataclass(frozen=True, eq=False)
class Opened:
    """A model that is asked; where it is no `Writer`, for vectors of texts alone.

    Attributes:
        name: by which requests call it.
        fitted: the network.
    """

    name: str
    fitted: NeuralModel

    @property
    def tokenizer(self) -> Trained:
        """The run's tokenizer."""
        return self.fitted.tokenizer


@dataclass(frozen=True, eq=False)
class Writer(Opened):
    """A model that continues texts.

    Attributes:
        template: how a conversation is written for it.
        trained: whether that is how its training text was written.
    """

    template: Template
    trained: bool

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        end = self.tokenizer.end_id
        return () if end is None else (end,)

    @property
    def told(self) -> str:
        """Say which template it has."""
        if self.trained:
            return "the run's: prompts and answers as in training"
        return "plain: the run was trained on no turns; a line for each, without names"


def open_model(path: Path, step: int | None = None) -> Opened:
    """Read a run that is to be served: a `Writer`, or one that gives vectors.

    Args:
        path: of the run.
        step: of the checkpoint; None takes the best one.

    Raises:
        UserError: it can't be read, or its model does neither.
    """
    run = find_run(path)
    fitted = load_model(run, step)
    if isinstance(fitted, NeuralModel) and fitted.embeds:
        return Opened(title_of(run), narrowed(fitted))
    return _writer(run, fitted)


def open_writer(path: Path, step: int | None = None) -> Writer:
    """Read a run that is to be talked with; see `open_model`.

    Raises:
        UserError: it can't be read, or its model continues no text.
    """
    run = find_run(path)
    return _writer(run, load_model(run, step))


def _writer(run: Path, fitted: NeuralModel | CountedModel) -> Writer:
    """Give a model its template: that of its data, where it was trained on answers."""
    if isinstance(fitted, CountedModel):
        raise UserError(
            f"{run} was fitted by counting, and only networks are chatted with and "
            "served. `generate` continues prompts with it."
        )
    if not fitted.writes:
        objective = type(fitted.experiment.objective).__name__
        raise UserError(
            f"{run} was trained by {objective}: it doesn't continue text. `evaluate` "
            "scores it."
        )
    if fitted.from_sources:
        raise UserError(
            f"{run} writes a text from another one, and doesn't go on with it: what "
            "it writes of a text is `generate RUN --prompt TEXT`."
        )
    data, model = fitted.experiment.data, narrowed(fitted)
    if isinstance(data, Answers | AnswerPairs | Conversations):
        return Writer(title_of(run), model, data.template, True)
    return Writer(title_of(run), model, plain_template(fitted.tokenizer), False)
