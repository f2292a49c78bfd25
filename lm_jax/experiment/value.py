"""An experiment: one frozen value that defines a run."""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn

from lm_jax.counting import NGram
from lm_jax.data import Data, OwnData, TokenStream
from lm_jax.generation import Sampling
from lm_jax.objectives import Objective, ObjectiveBase
from lm_jax.optimizers import Optimizer
from lm_jax.schedules import Schedule
from lm_jax.sharding import Sharding


@dataclass(frozen=True)
class Sample:
    """The text that is generated at each evaluation.

    Attributes:
        prompt: what the model continues.
        length: tokens to generate; 0 generates nothing.
        sampling: how each token is drawn.
    """

    prompt: str = "\n"
    length: int = 200
    sampling: Sampling = Sampling(temperature=0.8)


@dataclass(frozen=True)
class Published:
    """A figure that somebody published for this experiment.

    Attributes:
        value: the figure.
        source: where it stands.
        split: of which split.
        score: of what: "loss" (nats per token), "perplexity", "bits_per_byte",
            or another score of the objective.
    """

    value: float
    source: str
    split: Literal["validation", "test"] = "validation"
    score: str = "loss"


@dataclass(frozen=True)
class InitialVectors:
    """Word vectors that the embedding begins as.

    To keep them as they are: ``optimizer.rates=(("^embedding$", 0.0), (".*", 1.0))``.

    Attributes:
        path: a file in word2vec's or GloVe's text format. Tokens that it lacks
            begin as they would without it.
        parameter: that takes them.
    """

    path: str = ""
    parameter: str = "embedding"


@dataclass(frozen=True)
class Experiment:
    """All that decides a run's numbers.

    Attributes:
        data: corpus, tokenizer and how they become batches.
        model: the Flax module itself; what is None is taken from the data.
        objective: what is learnt.
        optimizer: how gradients become updates.
        schedule: the learning rate over the run.
        batch: examples a step, or their tokens at most: 32, or "4096 tokens".
        budget: length of the run: "2000 steps", "3 epochs", "10M tokens",
            "1e16 flops".
        evaluate_every: how often the whole validation split is scored, a
            sample is drawn and a checkpoint is saved.
        accumulate: parts that a batch is computed in, one after the other.
        average: decay of the moving average of the weights that is evaluated
            in their place; 0 is off.
        average_after: evaluations without a loss better than the best of those
            before them until the plain average of all later weights is
            evaluated in their place (NT-ASGD, Merity et al. 2018, 3); None is off.
        initial: word vectors that the embedding begins as.
        patience: evaluations without a better loss before the run stops
            early; None never does.
        keep: checkpoints kept beside the best.
        seed: of initial values, order of the data, dropout and samples.
        sharding: the mesh, and what lies where on it.
        sample: the text generated at each evaluation.
        outputs: beside metrics.jsonl: "tensorboard", "wandb", "mlflow".
        published: the figure to compare with.
    """

    data: Data | OwnData
    model: nn.Module
    objective: Objective | ObjectiveBase
    optimizer: Optimizer
    schedule: Schedule
    batch: int | str
    budget: str
    evaluate_every: str
    accumulate: int = 1
    average: float = 0.0
    average_after: int | None = None
    initial: InitialVectors | None = None
    patience: int | None = None
    keep: int = 2
    seed: int = 0
    sharding: Sharding = Sharding()
    sample: Sample = Sample()
    outputs: tuple[str, ...] = ("tensorboard",)
    published: Published | None = None


@dataclass(frozen=True)
class CountExperiment:
    """All that decides the numbers of a model that is fitted by counting.

    Attributes:
        data: corpus and tokenizer; what is counted is its whole stream.
        model: order and smoothing.
        seed: of the sample.
        sample: the text generated once it is fitted.
        published: the figure to compare with.
    """

    data: TokenStream
    model: NGram
    seed: int = 0
    sample: Sample = Sample()
    published: Published | None = None


AnyExperiment = Experiment | CountExperiment
