"""A fitted model read back from its run: all that is needed to use it.

Neither the corpus nor the cache, the optimizer's state or the devices of the
training are needed: a run directory that was copied elsewhere works there.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from lm_jax.adapting import as_read
from lm_jax.counting import (
    FittedBM25,
    FittedClasses,
    FittedNGram,
    load,
    load_bm25,
    load_classes,
)
from lm_jax.counting.generate import continue_counted
from lm_jax.data import Frame
from lm_jax.errors import NotFinite, UserError
from lm_jax.experiment import AnyExperiment, CountExperiment, Experiment, from_json
from lm_jax.experiment import read as read_experiment
from lm_jax.experiment.names import own_module, to_json
from lm_jax.files import atomic_write, given_path
from lm_jax.generation import Contrastive, continue_prompts
from lm_jax.generation.contrastive import contrastive_search
from lm_jax.models.model import lacking
from lm_jax.platform import devices, products_of
from lm_jax.runs.base import read_left
from lm_jax.runs.checkpoints import Checkpoints
from lm_jax.runs.writing import Texts
from lm_jax.tokenizers import Trained, load_tokenizer, save_tokenizer
from lm_jax.tokenizers.specials import WithSpecials, spelled

NGRAM, CLASSES, RANKS = "ngram", "naive_bayes.npz", "bm25.npz"
MODEL, TOKENIZER = "model.json", "tokenizer.json"
# Tokens that stand for no text of their own have no word vector.
SPECIAL = ("<unk>", "<eos>", "<|end|>")


@dataclass(frozen=True, eq=False)
class NeuralModel(Texts):
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
        frame: what stands around sources and targets, where it reads sources.
    """

    model: nn.Module
    params: Any
    context: int
    step: int
    labels: tuple[str, ...] = ()
    frame: Frame | None = None

    @property
    def writes(self) -> bool:
        """Whether it continues text."""
        return self.experiment.objective.generates

    @property
    def embeds(self) -> bool:
        """Whether it gives vectors of whole texts, as a `BiEncoder` does."""
        return not lacking(self.model, {"query_vectors": (), "passage_vectors": ()})

    @property
    def longest(self) -> int | None:
        """Tokens that it reads at once, at most; None is any number."""
        return None if self.model.recurrent else self.context

    @property
    def from_sources(self) -> bool:
        """Whether it writes a text from another one, and doesn't go on with it."""
        return self.writes and "source" in self.model.reads

    def continuations(
        self, prompts, length, sampling, seed, *, beam=None, end=None, **how
    ):
        """Continue prompts of (tokens,), or write of sources; see `continue_prompts`.

        Raises:
            UserError: when the model writes no text.
        """
        check_writes(self.experiment)
        known = self.tokenizer.vocab_size
        if isinstance(beam, Contrastive):
            given = self.model, self.params, prompts, length, self.context
            return contrastive_search(*given, beam, sampling, known=known, end=end)
        how |= {"beam": beam, "end": end, "known": known}
        if self.from_sources:
            how["sources"] = prompts
            start = np.array(self._framed().start, np.int32)
            prompts = [start] * len(prompts)
        return continue_prompts(
            *(self.model, self.params, prompts, length, self.context, sampling, seed),
            **how,
        )

    def _read(self, prompt):
        """The ids that a prompt is read as."""
        if not self.from_sources:
            return super()._read(prompt)
        if not prompt:
            raise UserError(
                "This model writes a text from another one: give it with --prompt."
            )
        ids = spelled(self.tokenizer, prompt)
        return self._framed().source(ids, self.context)

    def _end(self, to_end):
        """The token that ends a text: a target's, where there are sources."""
        return self._framed().end if self.from_sources else super()._end(to_end)

    def _framed(self) -> Frame:
        if self.frame is None:
            raise UserError(
                f"The run's {MODEL} doesn't say what a target begins after: an earlier "
                "version made it. Train it anew, or import it again."
            )
        return self.frame

    def features(self, texts: Sequence[str]) -> list[Float[np.ndarray, "tokens width"]]:
        """Give the vector of each token of each text, before the logits.

        Raises:
            UserError: a text is empty or longer than the model's context, or its
                features are not finite; the model gives a vector of a whole text, or
                reads no text by itself.
        """
        if self.model.reads or lacking(self.model, {"features": ()}):
            raise UserError(
                f"{type(self.model).__name__} reads no text by itself: it has no "
                "features of one."
            )
        if self.embeds:
            raise UserError(
                "This model gives vectors of whole texts: embed(model, texts) of "
                "lm_jax.retrieval has them as `index` does."
            )
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
class CountedModel(Texts):
    """A model that was fitted by counting.

    Attributes:
        experiment: that it was fitted by.
        tokenizer: trained.
        fitted: the probabilities.
        step: 1.
    """

    fitted: FittedNGram | FittedClasses | FittedBM25
    step: int = 1

    @property
    def writes(self) -> bool:
        """Whether it continues text."""
        return self.fitted.writes

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that it tells apart, where it does."""
        return self.fitted.labels

    def continuations(self, prompts, length, sampling, seed, *, beam=None, **how):
        """Continue prompts of (tokens,); see `continue_counted`.

        Raises:
            UserError: when the model writes no text; a beam, which is of networks.
        """
        if not isinstance(self.fitted, FittedNGram):
            ranks = isinstance(self.fitted, FittedBM25)
            does = "ranks documents" if ranks else "tells classes apart"
            raise UserError(
                f"This model {does}: it doesn't continue text. `evaluate` scores it."
            )
        if beam is not None:
            raise UserError(
                "A search is of networks, and this model counts: leave --beam out, and "
                "--contrastive."
            )
        known = self.tokenizer.vocab_size
        return continue_counted(
            self.fitted, prompts, length, sampling, seed, known=known, **how
        )

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
    frame: Frame | None = None,
) -> None:
    """Write what a run needs to stand alone: the tokenizer and the resolved model.

    Raises:
        UserError: where they cannot be written.
    """
    keep_tokenizer(run, tokenizer)
    document = {"model": to_json(model), "context": context}
    document |= {"labels": list(labels)} if labels else {}
    document |= {"frame": asdict(frame)} if frame else {}
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
    model, context, labels, frame = _read_model(run, experiment)
    devices(several=True)  # each of several processes reads all of it
    left = read_left(run, experiment.initial)
    checkpoints = Checkpoints(run / "checkpoints", left=left)
    chosen = checkpoints.choose(step)
    params = as_read(checkpoints.restore_params(chosen))
    if experiment.adapter is not None:
        params = experiment.adapter.seen(params)
    return NeuralModel(
        *(experiment, tokenizer, model, params, context, chosen, labels, frame)
    )


def load_counted(
    run: Path, experiment: CountExperiment, tokenizer: Trained
) -> CountedModel:
    """Read a model that was fitted by counting.

    Raises:
        UserError: when it can't be read.
    """
    reading: dict[str, tuple[Callable[[Path], Any], str]] = {
        "TokenStream": (load, NGRAM),
        "Labelled": (load_classes, CLASSES),
        "Passages": (load_bm25, RANKS),
    }
    read, name = reading[experiment.model.reads]
    fitted = read(run / name)
    return CountedModel(experiment, tokenizer, fitted)


def _read_model(
    run: Path, experiment: AnyExperiment
) -> tuple[nn.Module, int, tuple[str, ...], Frame | None]:
    try:
        document = json.loads((run / MODEL).read_text(encoding="utf-8"))
        own = own_module(experiment)
        model, labels = from_json(document["model"], own), document.get("labels", ())
        frame = document.get("frame")
        if frame is not None:
            parts = {k: tuple(frame[k]) for k in ("start", "before", "after")}
            frame = Frame(**parts, end=frame["end"])
        return model, document["context"], tuple(labels), frame
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / MODEL} can't be read: {error}.") from error
