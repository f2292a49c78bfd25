"""A fitted model read back from its run: all that is needed to use it.

Neither the corpus nor the cache, the optimizer's state or the devices of the
training are needed: a run directory that was copied elsewhere works there.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int

from lm_jax.adapting import as_read
from lm_jax.counting import FittedClasses, FittedNGram, load, load_classes
from lm_jax.counting.generate import generate as continue_counted
from lm_jax.errors import NotFinite, UserError, nearest
from lm_jax.experiment import AnyExperiment, CountExperiment, Experiment, from_json
from lm_jax.experiment import read as read_experiment
from lm_jax.experiment.names import own_module, to_json
from lm_jax.files import atomic_write, given_path
from lm_jax.generation import Sampling
from lm_jax.generation import generate as continue_text
from lm_jax.models.model import lacking
from lm_jax.platform import devices, products_of
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.tokenizers import Trained, load_tokenizer, save_tokenizer
from lm_jax.tokenizers.specials import WithSpecials
from lm_jax.tokenizers.trained import prompted, written

NGRAM, CLASSES = "ngram.npz", "naive_bayes.npz"
MODEL, TOKENIZER = "model.json", "tokenizer.json"
# Tokens that stand for no text of their own have no word vector.
SPECIAL = ("<unk>", "<eos>", "<|end|>")


@dataclass(frozen=True)
class _Texts(ABC):
    """What models of every family do with texts."""

    experiment: Any
    tokenizer: Trained

    def generate(
        self,
        prompts: str | Sequence[str | None],
        length: int = 200,
        sampling: Sampling = Sampling(temperature=0.8),
        seed: int = 0,
        **changed: Any,
    ) -> list[str]:
        """Continue texts by ``length`` tokens each; the prompts are given back too.

        Fields of `Sampling` can be given by themselves: ``temperature=0``, ``top_k=5``.

        A prompt begins a document, where the training text has documents; one that is
        None begins as that text does.

        Raises:
            UserError: the model writes no text; a prompt is empty or has what the
                tokenizer doesn't know; the seed is none; a name is no field's.
        """
        known = [field.name for field in fields(Sampling)]
        for name in changed.keys() - known:
            there = nearest(name, ["length", "sampling", "seed", *known])
            raise UserError(f"generate takes no {name}=.{there}")
        sampling = replace(sampling, **changed)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        given = [self.tokenizer.encode(text or "") for text in texts]
        ids = [prompted(self.tokenizer, text) for text in texts]
        new = self.generate_ids(ids, length, sampling, seed)
        rows = zip(given, new, strict=True)
        return [written(self.tokenizer, np.concatenate(row)) for row in rows]

    @abstractmethod
    def generate_ids(
        self,
        prompts: Sequence[Int[np.ndarray, " _"]],
        length: int,
        sampling: Sampling,
        seed: int,
    ) -> Int[np.ndarray, "batch length"]:
        """Continue prompts of (tokens,) by ``length`` tokens each."""


@dataclass(frozen=True, eq=False)
class NeuralModel(_Texts):
    """A trained network.

    Attributes:
        experiment: that it was trained by.
        tokenizer: trained.
        model: the module, with all that the data decided filled in.
        params: to use: the average where the run keeps one. Matrices of
            a quantized run are `Quantized`, which its model reads as float32.
        context: tokens of the texts that it was trained on.
        step: that the parameters are of.
        labels: names of the classes that it tells apart, where it does.
    """

    model: nn.Module
    params: Any
    context: int
    step: int
    labels: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it continues text."""
        return self.experiment.objective.generates

    def generate_ids(self, prompts, length, sampling, seed):
        """Continue prompts of (tokens,): new tokens (batch, length).

        Raises:
            UserError: when the model writes no text.
        """
        check_writes(self.experiment)
        return continue_text(
            self.model, self.params, prompts, length, self.context, sampling, seed
        )

    def features(self, texts: Sequence[str]) -> list[Float[np.ndarray, "tokens width"]]:
        """Give the vector of each token of each text, before the logits.

        Raises:
            UserError: a text is empty or longer than the model's context, or its
                features are not finite.
        """
        found = []
        for number, text in enumerate(texts, 1):
            ids = self.tokenizer.encode(text)
            if not 0 < len(ids) <= self.context:
                raise UserError(
                    f"Text {number} has {len(ids)} tokens; features are of 1 to "
                    f"{self.context}, the context of the model."
                )
            tokens = jnp.asarray(ids[None])
            with products_of(self.model):
                hidden, _ = self.model.apply(
                    {"params": self.params}, tokens, method="features"
                )
            found.append(_finite(hidden[0], f"The features of text {number}"))
        return found

    def vectors(self) -> tuple[list[str], Float32[np.ndarray, "words width"]]:
        """Give the words that have a vector of their own, and the vectors.

        Those of a language model are its embedding.

        Raises:
            UserError: the model has none.
        """
        if missing := without_vectors(self.model):
            raise UserError(missing)
        table = self.model.apply({"params": self.params}, method="vectors")
        table = _finite(table, "Its vectors")
        tokenizer = self.tokenizer
        if isinstance(tokenizer, WithSpecials):
            tokenizer = tokenizer.tokenizer
        symbols = tokenizer.symbols(range(tokenizer.vocab_size))
        spelled = [i for i, symbol in enumerate(symbols) if symbol not in SPECIAL]
        return [symbols[i] for i in spelled], table[spelled]


@dataclass(frozen=True, eq=False)
class CountedModel(_Texts):
    """A model that was fitted by counting.

    Attributes:
        experiment: that it was fitted by.
        tokenizer: trained.
        fitted: the probabilities.
        step: 1.
    """

    fitted: FittedNGram | FittedClasses
    step: int = 1

    @property
    def writes(self) -> bool:
        """Whether it continues text."""
        return self.fitted.writes

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that it tells apart, where it does."""
        return self.fitted.labels

    def generate_ids(self, prompts, length, sampling, seed):
        """Continue prompts of (tokens,): new tokens (batch, length).

        Raises:
            UserError: when the model writes no text.
        """
        if isinstance(self.fitted, FittedClasses):
            raise UserError(
                "This model tells classes apart: it doesn't continue text. `evaluate` "
                "scores it."
            )
        return continue_counted(self.fitted, prompts, length, sampling, seed)

    def vectors(self) -> tuple[list[str], Float32[np.ndarray, "words width"]]:
        """Refuse: counts are no vectors.

        Raises:
            UserError: always.
        """
        raise UserError(COUNTS)


COUNTS = "This model was fitted by counting: it has no vectors."


def without_vectors(model: Any) -> str | None:
    """Say that a model has no vectors of tokens; None where it has."""
    if not lacking(model, {"vectors": ()}):
        return None
    return (
        f"{type(model).__name__} has no vectors of tokens: give it a method `vectors` "
        "that returns them, (vocab, width)."
    )


def _finite(array: Any, what: str) -> Float32[np.ndarray, "..."]:
    """An array of a model in float32.

    Raises:
        NotFinite: an entry is infinite or not a number.
    """
    found = np.asarray(jax.device_get(array), np.float32)
    if not np.isfinite(found).all():
        raise NotFinite(
            f"{what} are infinite or not numbers: the parameters are not finite, or "
            "too large. Take an earlier checkpoint (--step)."
        )
    return found


def check_writes(experiment: Experiment) -> None:
    """Refuse an experiment whose model doesn't continue text.

    Raises:
        UserError: when its objective isn't one of writing.
    """
    objective = experiment.objective
    if not objective.generates:
        raise UserError(
            f"This model was trained by {type(objective).__name__}: it doesn't "
            "continue text. `evaluate` scores it."
        )


def keep_tokenizer(run: Path, tokenizer: Trained) -> None:
    """Write the trained tokenizer, if it isn't there; it never changes in a run.

    Raises:
        UserError: where it cannot be written.
    """
    if not (run / TOKENIZER).exists():
        save_tokenizer(tokenizer, run / TOKENIZER)


def keep_model(
    run: Path,
    tokenizer: Trained,
    model: Any,
    context: int,
    labels: tuple[str, ...] = (),
) -> None:
    """Write what a run needs to stand alone: the tokenizer and the resolved model.

    Raises:
        UserError: where they cannot be written.
    """
    keep_tokenizer(run, tokenizer)
    document = {"model": to_json(model), "context": context}
    document |= {"labels": list(labels)} if labels else {}
    text = json.dumps(document, indent=2, ensure_ascii=False)
    atomic_write(run / MODEL, text + "\n")


def load_model(run: Path | str, step: int | None = None) -> NeuralModel | CountedModel:
    """Read a fitted model from its run directory alone.

    Args:
        run: the directory.
        step: of the checkpoint; None takes the best one.

    Raises:
        UserError: when it can't be read, or there is no such checkpoint.
    """
    run = given_path(run, "The run's directory")
    experiment: AnyExperiment = read_experiment(run)
    tokenizer = load_tokenizer(run / TOKENIZER)
    if isinstance(experiment, CountExperiment):
        if step not in (None, 1):
            raise UserError(
                f"{run} was fitted by counting and has no checkpoints: leave --step "
                "out."
            )
        return load_counted(run, experiment, tokenizer)
    model, context, labels = _read_model(run, experiment)
    devices()
    checkpoints = Checkpoints(run / "checkpoints")
    chosen = checkpoints.choose(step)
    params = as_read(checkpoints.restore_params(chosen))
    if experiment.adapter is not None:
        params = experiment.adapter.seen(params)
    return NeuralModel(experiment, tokenizer, model, params, context, chosen, labels)


def load_counted(
    run: Path, experiment: CountExperiment, tokenizer: Trained
) -> CountedModel:
    """Read a model that was fitted by counting.

    Raises:
        UserError: when it can't be read.
    """
    fitted: FittedNGram | FittedClasses
    if experiment.model.of_texts:
        fitted = load_classes(run / CLASSES)
    else:
        fitted = load(run / NGRAM)
    return CountedModel(experiment, tokenizer, fitted)


def _read_model(
    run: Path, experiment: AnyExperiment
) -> tuple[nn.Module, int, tuple[str, ...]]:
    try:
        document = json.loads((run / MODEL).read_text(encoding="utf-8"))
        own = own_module(experiment)
        model, labels = from_json(document["model"], own), document.get("labels", ())
        return model, document["context"], tuple(labels)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{run / MODEL} can't be read: {error}.") from error
