"""An experiment: one frozen value that defines a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import flax.linen as nn
from flax.core import FrozenDict

from lm_jax.adapting import Adapter
from lm_jax.averages import Average
from lm_jax.bounds import SEEDS, check, within
from lm_jax.counting import Counting
from lm_jax.data import Data, Labelled, OwnData, Passages, TokenStream
from lm_jax.durations import parse_duration
from lm_jax.errors import UserError, nearest
from lm_jax.evaluation import Evaluation, Likelihood, Sample
from lm_jax.experiment.checked import check_types
from lm_jax.experiment.leaves import Leaf, leaves
from lm_jax.kernels.attention_forms import Form
from lm_jax.models.config import Remat
from lm_jax.objectives import Objective, ObjectiveBase
from lm_jax.optimizers import Optimizer
from lm_jax.schedules import Schedule
from lm_jax.sharding import Sharding


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

    # The recipe that it was published for: of the experiment it was first given to.
    recipe: ClassVar[tuple[Leaf, ...] | None] = None

    value: float
    source: str
    split: Literal["validation", "test"] = "validation"
    score: str = "loss"

    def of(self, recipe: tuple[Leaf, ...]) -> "Published | None":
        """The figure where it is of this recipe, or of none yet; else None."""
        if self.recipe not in (None, recipe):
            return None
        bound = replace(self)
        object.__setattr__(bound, "recipe", recipe)
        return bound


@dataclass(frozen=True)
class InitialVectors:
    """Word vectors that the embedding begins as.

    To keep them as they are: ``frozen=(("^embedding$", True), (".*", False))``.

    Attributes:
        path: a file in word2vec's or GloVe's text format. Tokens that it lacks
            begin as they would without it.
        parameter: that takes them.
    """

    path: str = ""
    parameter: str = "embedding"


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """How parameters that were learnt elsewhere become those of a model.

    What has the same path and shape in both is taken, unless it has rows of other
    tokens or columns of other labels; each parameter that differs must be named, so
    that none is forgotten. Expressions are searched in paths, as
    "block_0/attention/query/kernel".

    Attributes:
        renamed: (expression, replacement) pairs that turn their paths into paths of
            this model.
        resized: expressions of parameters of another shape, of which the part that
            both shapes have is taken; the rest begins anew. Tables with a row for each
            token are resized where the larger vocabulary begins with the smaller.
        new: expressions of parameters of this model that begin anew.
        dropped: expressions of parameters that are not taken.
    """

    renamed: tuple[tuple[str, str], ...] = ()
    resized: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class FromRun(Learnt):
    """The parameters of a run, which this one begins with; see `Learnt`.

    Attributes:
        run: its directory.
        step: of the checkpoint; None takes the best one.
    """

    run: str = ""
    step: int | None = within("[0, inf)", None)

    def __post_init__(self) -> None:
        """Refuse what is no step."""
        check(self, "initial")


@dataclass(frozen=True)
class FromHuggingFace(Learnt):
    """The parameters of a Hugging Face folder, which a run begins with; see `Learnt`.

    The tokenizer is that of the folder too: ``Pretrained(path)``. With another one,
    what has a row for each token must be named in ``new``.

    Attributes:
        path: of the folder: config.json, safetensors and tokenizer.json.
    """

    path: str = ""


Initial = InitialVectors | FromRun | FromHuggingFace


@dataclass(frozen=True)
class Compute:
    """How a model's operations are laid out: the numbers differ by rounding alone.

    Attributes:
        scan: compile one block and loop over it: compile time then does not grow
            with depth.
        remat: what of a block is computed again in the backward pass, so that it
            needs less memory: "none"; "full", all of it; "products" keeps the results
            of matrix products; "projections" keeps those of projections, and the
            mixed values; "offload" keeps what "full" does, a block's input, in the
            memory of the host.
        attention: the form of softmax attention: "auto" takes what the devices have;
            "plain" keeps all weights; "blocks" of queries keep none, nor do "splash"
            on TPUs and "cudnn" on GPUs.
        compiler: options of XLA, "name=value", that a step of training is compiled
            with; they go before what `lm_jax.compiler` has for the devices.
    """

    scan: bool = False
    remat: Remat = "none"
    attention: Form = "auto"
    compiler: tuple[str, ...] = ()


@dataclass(frozen=True)
class Execution:
    """How and where a recipe is computed.

    It may change each time that a run is started, and decides no number beyond
    rounding. On the command line the last name is enough: ``--fsdp 4``.

    Attributes:
        sharding: the mesh, and what lies where on it.
        accumulate: parts that a batch is computed in, one after the other.
        keep: checkpoints kept beside the best.
        spikes: save what led to a step whose loss or gradient's norm is above so many
            times the median of the last 100, three times at most; None saves nothing.
            It makes the steps from the last checkpoint again, in memory for a second
            state.
        together: runs that a step computes at once, of which this is one. `sweep
            --together` puts seeds side by side; alone, a run is computed so many times
            over, and comes out the same to the bit.
        compute: how the model's operations are laid out.
    """

    sharding: Sharding = Sharding()
    accumulate: int = within("[1, inf)", 1)
    keep: int = within("[1, inf)", 2)
    spikes: float | None = within("(1, inf)", None)
    together: int = within("[1, inf)", 1)
    compute: Compute = Compute()

    def __post_init__(self) -> None:
        """Refuse no parts and no checkpoints."""
        check(self, "execution")


# What a seed moves, each part apart from the others.
Random = Literal["order", "initial", "dropout"]
RANDOM: tuple[Random, ...] = ("order", "initial", "dropout")

# What a field is part of: the recipe, if its metadata doesn't say. The entry of a
# mapping that ``recipe`` names is part of the recipe too.
EXECUTION = {"part": "execution"}
NOTES = {"part": "notes"}


@dataclass(frozen=True)
class Experiment:
    """A recipe, which decides a run's numbers; its execution; and notes.

    Attributes:
        data: corpus, tokenizer and how they become batches.
        model: the Flax module itself; what is None is taken from the data.
        objective: what is learnt.
        optimizer: how gradients become updates.
        schedule: the learning rate over the run.
        batch: examples a step, or their tokens at most: 32, or "4096 tokens".
        budget: length of the run: "2000 steps", "3 epochs", "10M tokens",
            "1e16 flops". A run that has ended goes on with a longer one, where the
            steps that were made would have been the same.
        evaluations: what is measured, by name, and how often.
        watch: the evaluation that schedule, patience and the best checkpoint go by;
            a checkpoint is saved whenever it is made. It is part of the recipe, the
            others are notes.
        average: of the weights, that is evaluated and used in their place; None
            has none.
        initial: word vectors that the embedding begins as, or the run or the Hugging
            Face folder whose parameters this one begins with; None begins anew.
        frozen: which parameters are not trained: (expression, true or false) pairs.
            They have no gradient, no optimizer state and no share in the norm that
            gradients are clipped by. A duration in the place of true is how long: until
            then they and their optimizer state stay (gradual unfreezing: Howard and
            Ruder 2018, 3.3: ``(("block_0/", "2 epochs"), ("block_1/", "1 epoch"),
            (".*", False))``).
        adapter: what is trained beside the parameters of ``initial``, which stay as
            they are; None trains those themselves.
        patience: evaluations without a better loss before the run stops
            early; None never does.
        skip_bad_steps: steps in a row that may be skipped because their loss, gradient
            or update is not finite: parameters and optimizer stay as they were, and
            the schedule goes on. One more stops the run, and so does the first of all
            with 0. A run that such a step has stopped goes on with another number.
        seed: of initial values, order of the data, dropout and samples.
        held: parts that are as with seed 0, whatever the seed: "order" of the data and
            what is drawn of it, "initial" values, "dropout".
        execution: how and where it is computed.
        outputs: beside metrics.jsonl: "tensorboard", "wandb", "mlflow".
        published: the figure to compare with. It belongs to this recipe: made into
            another one by ``replace``, an experiment has none, unless it is given.
    """

    in_steps: ClassVar[bool] = True

    data: Data | OwnData
    model: nn.Module
    objective: Objective | ObjectiveBase
    optimizer: Optimizer
    schedule: Schedule
    batch: int | str
    budget: str
    evaluations: Mapping[str, Evaluation] = field(metadata=NOTES | {"recipe": "watch"})
    watch: str = "likelihood"
    average: Average | None = None
    initial: Initial | None = None
    frozen: tuple[tuple[str, bool | str], ...] = ((".*", False),)
    adapter: Adapter | None = None
    patience: int | None = within("[1, inf)", None)
    skip_bad_steps: int = within("[0, inf)", 0)
    seed: int = within(SEEDS, 0)
    held: tuple[Random, ...] = ()
    execution: Execution = field(default=Execution(), metadata=EXECUTION)
    outputs: tuple[str, ...] = field(default=("tensorboard",), metadata=NOTES)
    published: Published | None = field(default=None, metadata=NOTES)

    def __post_init__(self) -> None:
        """Freeze the evaluations; refuse what isn't there or doesn't fit."""
        if isinstance(self.evaluations, Mapping):
            object.__setattr__(self, "evaluations", FrozenDict(self.evaluations))
        check_types(self)
        held = tuple(part for part in RANDOM if part in self.held)
        object.__setattr__(self, "held", held)  # one recipe, one name
        check_watched(self.evaluations, self.watch)
        parse_duration(self.budget, "budget", positive=True)
        for _, until in self.frozen:
            if isinstance(until, str):
                parse_duration(until, "frozen", positive=True)
        check(self)
        _keep_published(self)

    def seed_of(self, part: Random) -> int:
        """The seed of a part of what is random: one of `RANDOM`."""
        return 0 if part in self.held else self.seed


@dataclass(frozen=True)
class CountExperiment:
    """All that decides the numbers of a model that is fitted by counting.

    Attributes:
        data: corpus and tokenizer; n-grams are counted in its whole stream, naive
            Bayes in `Labelled` texts, BM25 in the documents of `Passages`.
        model: order and smoothing.
        evaluations: what is measured once it is fitted, by name.
        watch: the evaluation that its result is known by.
        seed: of the sample.
        published: the figure to compare with.
    """

    in_steps: ClassVar[bool] = False

    data: TokenStream | Labelled | Passages
    model: Counting
    evaluations: Mapping[str, Evaluation] = field(
        default=FrozenDict({"likelihood": Likelihood(), "sample": Sample()}),
        metadata=NOTES | {"recipe": "watch"},
    )
    watch: str = "likelihood"
    seed: int = within(SEEDS, 0)
    published: Published | None = field(default=None, metadata=NOTES)

    def __post_init__(self) -> None:
        """Freeze the evaluations; refuse what isn't there or doesn't fit."""
        if isinstance(self.evaluations, Mapping):
            object.__setattr__(self, "evaluations", FrozenDict(self.evaluations))
        check_types(self)
        check_watched(self.evaluations, self.watch)
        check(self)
        wanted = self.model.reads
        if wanted != type(self.data).__name__:
            raise UserError(
                f"{type(self.model).__name__} counts in a {wanted}, and data is a "
                f"{type(self.data).__name__}: use the other of either."
            )
        if isinstance(self.data, Labelled) and self.data.augment:
            raise UserError(
                "data.augment changes texts anew in each step, and a model that counts "
                "reads them once, as they are: leave it out."
            )
        _keep_published(self)


AnyExperiment = Experiment | CountExperiment


def recipe(experiment: AnyExperiment) -> tuple[Leaf, ...]:
    """What decides an experiment's numbers, but for the seed, sorted by name."""
    found = (leaf for leaf in leaves(experiment) if leaf.part == "recipe")
    return tuple(sorted(leaf for leaf in found if not _silent(leaf)))


def _silent(leaf: Leaf) -> bool:
    """Whether a field is not named: the seed, and what is held where nothing is.

    Recipes are then named as before there was anything to hold.
    """
    return leaf.name == "seed" or (leaf.name, leaf.text) == ("held", "()")


def _keep_published(experiment: AnyExperiment) -> None:
    """Leave out a figure that was published for another recipe."""
    if experiment.published is not None:
        kept = experiment.published.of(recipe(experiment))
        object.__setattr__(experiment, "published", kept)


def check_watched(evaluations: Mapping[str, Evaluation], watch: str) -> None:
    """Refuse to go by an evaluation that isn't there or gives no score.

    Raises:
        UserError: with the nearest that does.
    """
    scored = [name for name, value in evaluations.items() if value.watched]
    if watch not in scored:
        there = nearest(watch, scored) if scored else ""
        raise UserError(
            f"watch='{watch}': no evaluation of that name gives a score to go by."
            f"{there}"
        )


def watched_as(experiment: AnyExperiment) -> str:
    """Say what an experiment is scored by, however often: alike where scores are."""
    evaluation: Any = experiment.evaluations[experiment.watch]
    return repr(replace(evaluation, every=None))
