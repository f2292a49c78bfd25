"""The second kind of fit: one pass that counts, no gradient steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lm_jax.counting import FittedNGram, NGram, Scratch
from lm_jax.data import Prepared
from lm_jax.data.prepared import check_varied
from lm_jax.errors import UserError
from lm_jax.evaluation import Found
from lm_jax.evaluation.fitted import Planned, Progress
from lm_jax.evaluation.items import Items
from lm_jax.evaluation.predictions import Predictions
from lm_jax.experiment import CountExperiment
from lm_jax.objectives.scores import likelihood
from lm_jax.runs.claim import claim
from lm_jax.runs.code import changed_code
from lm_jax.runs.confusion import confusion_of, draw_confusion
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import record_environment
from lm_jax.runs.metrics import append_sample, truncate_samples
from lm_jax.runs.model import COUNTS, NGRAM, CountedModel, keep_tokenizer, load_counted
from lm_jax.runs.result import end_run, own_entries, read_result
from lm_jax.runs.scored import about, corpus_of, entries
from lm_jax.tokenizers.trained import boundary_ids
from lm_jax.training.checks import check_evaluations, check_numbers, check_samples
from lm_jax.training.counted import UNCACHED, Counted
from lm_jax.training.counting_passages import ScoredPassages
from lm_jax.training.counting_texts import ScoredTexts
from lm_jax.training.setup import CACHE


@dataclass(frozen=True)
class ScoredCounts(Counted):
    """A model that counts the n-grams of a stream, beside its text."""

    file: ClassVar[str] = NGRAM

    @classmethod
    def check(cls, experiment: CountExperiment, data: Prepared) -> None:
        """Refuse a text that can't be counted.

        Raises:
            UserError: too few tokens or words.
        """
        assert isinstance(experiment.model, NGram)
        experiment.model.check(len(data.splits["train"].ids), data.vocab_size)
        check_varied(data)

    @classmethod
    def fit(
        cls, experiment: CountExperiment, data: Prepared, progress: Progress
    ) -> FittedNGram:
        """Count the training split."""
        assert isinstance(experiment.model, NGram)
        ids, ends = data.splits["train"].ids, boundary_ids(data.tokenizer) or None
        given = ids, data.vocab_size, ends, progress
        return experiment.model.fit(*given, Scratch(CACHE))

    @classmethod
    def planned(cls, data: Prepared) -> Planned:
        """What is known of the scores before anything is counted."""
        coded = data.splits["validation"].coded
        return Planned(lambda: likelihood(1.0, 1, coded), UNCACHED, COUNTS)

    @property
    def policy(self) -> str:
        """What the model sees before a token that it is scored on."""
        return f"the {self._fitted.order - 1} tokens before"

    @property
    def _fitted(self) -> FittedNGram:
        assert isinstance(self.loaded.fitted, FittedNGram)
        return self.loaded.fitted

    def score(self, split: str, progress: Progress | None = None) -> dict[str, float]:
        """Score every token of a split but the first, once."""
        self.data.evaluation(split, 1)  # refuses a split that isn't there
        tokens = self.data.splits[split]
        nats = -self._fitted.log_probabilities(tokens.ids, progress)
        return likelihood(float(nats.sum()), len(nats), tokens.coded)

    def predictions(self, split: str, progress: Progress | None = None) -> Predictions:
        """Refuse: each token is predicted, and no text is told anything of.

        Raises:
            UserError: always.
        """
        raise UserError(
            "N-grams tell nothing of a text by itself, as NaiveBayes() does."
        )

    def items(self, split: str, progress: Progress | None = None) -> Items:
        """Refuse: a split is read as one text."""
        raise UserError(
            "--items: a model that counts reads a split as one text, without items."
        )


Scores = ScoredCounts | ScoredTexts | ScoredPassages


def count_run(
    experiment: CountExperiment,
    run: Path,
    display: Display,
    begin: Callable[[Scores], None] = lambda scored: None,
) -> Scores:
    """Fit a model, score it, and write the run's directory.

    A run that has ended is read back: nothing is written. ``begin`` is told the
    model once it is fitted, before anything is said of what it scores and writes.

    Raises:
        UserError: when the directory holds another experiment, is in use or
            can't be written; when the text is too short for the order, has no
            validation split or lacks what the prompt of the sample spells.
    """
    check_numbers(experiment)
    data = experiment.data.prepare(CACHE, display.work)
    kind = kind_of(experiment)
    kind.check(experiment, data)
    data.evaluation("validation", 1)
    check_samples(experiment, data, silent=kind is not ScoredCounts, empty=True)
    check_evaluations(experiment, kind.planned(data))
    with open_run(run):
        claim(experiment, data, run)
        if _there(run / kind.file) and (run / "result.json").exists():
            display.message("The run has ended: there is nothing left to count.")
            _draw_lacking(run)
            counted = load_counted(run, experiment, data.tokenizer)
            begin(kind(counted, data))
            return kind(counted, data)
        keep_tokenizer(run, data.tokenizer)
        if changed := changed_code(run):
            display.message(changed)
        record_environment(run)
        began = time.perf_counter()
        fitted = kind.fit(experiment, data, display.work)
        seconds = time.perf_counter() - began
        fitted.save(run / kind.file)
        scored = kind(CountedModel(experiment, data.tokenizer, fitted), data)
        begin(scored)
        _conclude(experiment, scored, run, seconds, display)
    return scored


def _draw_lacking(run: Path) -> None:
    """Draw what a run that was killed after its result had not drawn."""
    if confusion_of(run, "validation").exists():
        return
    for entry in own_entries(read_result(run)):
        if entry["split"] == "validation":
            draw_confusion(run, entry, "validation")


def _there(path: Path) -> bool:
    """Whether there is a model; n-grams of earlier versions were one file."""
    return path.exists() or path.with_suffix(".npz").exists()


def kind_of(experiment: CountExperiment) -> type[Scores]:
    """Say how what an experiment counts is fitted and scored."""
    kinds: dict[str, type[Scores]] = {
        "TokenStream": ScoredCounts,
        "Labelled": ScoredTexts,
        "Passages": ScoredPassages,
    }
    return kinds[experiment.model.reads]


def beside_text(loaded: CountedModel, data: Prepared) -> Scores:
    """Put a model that counts beside a text."""
    return kind_of(loaded.experiment)(loaded, data)


def _conclude(
    experiment: CountExperiment,
    scored: Scores,
    run: Path,
    seconds: float,
    display: Display,
) -> None:
    """Make the evaluations; write and show what they found."""
    truncate_samples(run / "samples.txt", 0)
    found: dict[str, Found] = {}
    for name, evaluation in experiment.evaluations.items():
        made = found[name] = evaluation.run(scored, "validation", display.work)
        display.close()
        for text in made.texts:
            append_sample(run / "samples.txt", 1, text)
            display.sample(None, text)
    tokens = len(scored.data.splits["train"].ids)
    watched = experiment.evaluations[experiment.watch].watched
    text = scored.data.text
    scores = entries(
        found,
        split="validation",
        step=1,
        corpus=corpus_of(experiment.data),
        text=text,
        policy=scored.policy,
    )
    result = about(experiment, experiment.model, text, scored.policy) | {
        "steps": 1,
        "tokens": tokens,
        "parameters": scored.loaded.fitted.parameters,
        "scores": scores,
        "best": {"step": 1, watched: found[experiment.watch].scores[watched]},
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "data_wait": 0.0,
        "devices": 1,
        "platform": "cpu",
    }
    end_run(run, result)
    for made in found.values():
        draw_confusion(run, made.more, "validation")
