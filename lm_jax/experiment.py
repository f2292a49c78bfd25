"""An experiment: one frozen value that defines a run.

It is loaded from a file, overridden by dotted names, written as JSON, rebuilt
from that JSON, and compared with another.
"""

import dataclasses
import importlib
import importlib.util
import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn

from lm_jax.counting import NGram
from lm_jax.data import (
    CarriedStream,
    Cooccurrences,
    MaskedStream,
    Mixture,
    PackedDocuments,
    SpanCorruption,
    TokenStream,
    WordContexts,
)
from lm_jax.errors import UserError, nearest
from lm_jax.generation import Sampling
from lm_jax.objectives import Objective
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
        batch: examples a step.
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

    data: (
        TokenStream
        | CarriedStream
        | PackedDocuments
        | Mixture
        | MaskedStream
        | SpanCorruption
        | WordContexts
        | Cooccurrences
    )
    model: nn.Module
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    batch: int
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


@dataclass(frozen=True)
class Named:
    """An experiment, and the names that its run directory is made of."""

    experiment: AnyExperiment
    name: str
    variant: str


def load(address: str) -> Named:
    """Load "FILE.py" or "FILE.py:VARIANT".

    A relative file is looked for in the working directory and then beside the
    package, so that ``experiments/...`` works from anywhere.

    Raises:
        UserError: when the file, the experiment or the variant isn't there.
    """
    file, _, variant = address.partition(":")
    path = _find(file)
    module = _import(path)
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, AnyExperiment):
        raise UserError(
            f"{path} doesn't define 'experiment = Experiment(...)'. "
            "See experiments/gpt_shakespeare.py."
        )
    variants = getattr(module, "variants", {})
    if not variant:
        return Named(experiment, path.stem, "base")
    if variant not in variants:
        raise UserError(
            f"{path} has no variant '{variant}'." + nearest(variant, variants)
            if variants
            else f"{path} has no variants."
        )
    return Named(variants[variant], path.stem, variant)


def _find(file: str) -> Path:
    beside = Path(__file__).parent.parent / file
    for path in (Path(file), beside):
        if path.is_file():
            return path
    names = [str(p) for p in Path("experiments").glob("*.py")]
    names += [f"experiments/{p.name}" for p in beside.parent.glob("*.py")]
    hint = nearest(file, set(names)) if names else ""
    raise UserError(f"There is no experiment file '{file}'.{hint}")


def _import(path: Path) -> Any:
    """Import an experiment file, under a name that leads back to it."""
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.lineno for f in frames if f.filename == str(path.resolve())]
        line = getattr(error, "lineno", None) or (own[-1] if own else "?")
        raise UserError(
            f"{path}, line {line}: {type(error).__name__}: {error}"
        ) from error
    return module


def fields(value: Any) -> list[str]:
    """Names of a value's fields, without those that Flax adds to a module."""
    hidden = ("parent", "name") if isinstance(value, nn.Module) else ()
    return [f.name for f in dataclasses.fields(value) if f.name not in hidden]


def to_json(value: Any) -> Any:
    """Turn a value into what ``json`` can write; each dataclass keeps its type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        module = kind.__module__
        if module.startswith("experiment_"):
            module = str(sys.modules[module].__file__)
        body = {name: to_json(getattr(value, name)) for name in fields(value)}
        return {"type": f"{module}:{kind.__qualname__}"} | body
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def from_json(document: Any) -> Any:
    """Rebuild the value that `to_json` wrote.

    Raises:
        UserError: when a type or a field is no longer there.
    """
    if isinstance(document, list):
        return tuple(from_json(item) for item in document)
    if not isinstance(document, dict):
        return document
    module, _, name = document["type"].rpartition(":")
    try:
        source = (
            _import(Path(module))
            if module.endswith(".py")
            else importlib.import_module(module)
        )
        kind = getattr(source, name)
        body = {k: from_json(v) for k, v in document.items() if k != "type"}
        return kind(**body)
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise UserError(
            f"The experiment was written with '{document['type']}', which this "
            f"version can't rebuild: {error}."
        ) from error


def save(experiment: AnyExperiment) -> str:
    """The experiment as the text of experiment.json."""
    return json.dumps(to_json(experiment), indent=2, ensure_ascii=False) + "\n"


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Every field by its dotted name, as text: {"model.layers": "4", ...}."""
    if not dataclasses.is_dataclass(value):
        return {prefix: repr(value)}
    flat = {prefix: type(value).__name__} if prefix else {}
    for name in fields(value):
        flat |= flatten(getattr(value, name), f"{prefix}.{name}".lstrip("."))
    return flat


def differences(
    a: AnyExperiment, b: AnyExperiment
) -> list[tuple[str, str | None, str | None]]:
    """(dotted name, value in a, value in b) where two experiments differ."""
    flat_a, flat_b = flatten(a), flatten(b)
    names = list(flat_a) + [name for name in flat_b if name not in flat_a]
    return [
        (name, flat_a.get(name), flat_b.get(name))
        for name in names
        if flat_a.get(name) != flat_b.get(name)
    ]
