"""The second kind of fit: one pass that counts, no gradient steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from lm_jax.counting import load
from lm_jax.data import Prepared
from lm_jax.data.prepared import check_varied
from lm_jax.errors import UserError
from lm_jax.evaluation import NeuralCache
from lm_jax.evaluation.fitted import Planned, Progress
from lm_jax.evaluation.items import Items
from lm_jax.experiment import CountExperiment
from lm_jax.generation import Sampling
from lm_jax.objectives.scores import likelihood
from lm_jax.runs.claim import claim
from lm_jax.runs.code import changed_code
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import record_environment
from lm_jax.runs.metrics import append_sample, truncate_samples
from lm_jax.runs.model import COUNTS, NGRAM, CountedModel, keep_tokenizer
from lm_jax.runs.result import (
    about,
    corpus_of,
    end_run,
    entries,
)
from lm_jax.tokenizers.trained import boundary_ids
from lm_jax.training.checks import check_evaluations, check_numbers, check_samples
from lm_jax.training.setup import CACHE

UNCACHED = "A cache needs a trained model: this one was counted."


@dataclass(frozen=True)
class ScoredCounts:
    """What evaluations see of a model that counts; see `Fitted`.

    Attributes:
        loaded: the model.
        data: the text.
    """

    loaded: CountedModel
    data: Prepared
    writes: bool = True

    @property
    def step(self) -> int:
        """There is one."""
        return 1

    @property
    def seed(self) -> int:
        """Of the experiment."""
        return self.loaded.experiment.seed

    @property
    def policy(self) -> str:
        """What the model sees before a token that it is scored on."""
        return f"the {self.loaded.fitted.order - 1} tokens before"

    def score(self, split: str, progress: Progress | None = None) -> dict[str, float]:
        """Score every token of a split but the first, once."""
        self.data.evaluation(split, 1)  # refuses a split that isn't there
        tokens = self.data.splits[split]
        nats = -self.loaded.fitted.log_probabilities(tokens.ids, progress)
        return likelihood(float(nats.sum()), len(nats), tokens.coded)

    def score_with_cache(
        self,
        split: str,
        cache: NeuralCache,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        """Refuse: counts have no features to remember.

        Raises:
            UserError: always.
        """
        raise UserError(UNCACHED)

    def generate(
        self, prompts: list[np.ndarray], length: int, sampling: Sampling, seed: int
    ) -> np.ndarray:
        """Continue prompts of (tokens,): new tokens (batch, length)."""
        return self.loaded.generate_ids(prompts, length, sampling, seed)

    def items(self, split: str, progress: Progress | None = None) -> Items:
        """Refuse: a split is read as one text."""
        raise UserError(
            "--items: a model that counts reads a split as one text, without items."
        )

    def vectors(self) -> tuple[list[str], Float32[np.ndarray, "words width"]]:
        """Refuse: counts are no vectors."""
        return self.loaded.vectors()


def count_run(
    experiment: CountExperiment,
    run: Path,
    display: Display,
    begin: Callable[[ScoredCounts], None] = lambda scored: None,
) -> ScoredCounts:
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
    experiment.model.check(len(data.splits["train"].ids), data.vocab_size)
    data.evaluation("validation", 1)
    check_varied(data)
    check_samples(experiment, data, silent=False, empty=True)
    coded = data.splits["validation"].coded
    planned = Planned(lambda: likelihood(1.0, 1, coded), UNCACHED, COUNTS)
    check_evaluations(experiment, planned)
    with open_run(run):
        claim(experiment, data, run)
        if (run / NGRAM).exists() and (run / "result.json").exists():
            display.message("The run has ended: there is nothing left to count.")
            counted = CountedModel(experiment, data.tokenizer, load(run / NGRAM))
            begin(ScoredCounts(counted, data))
            return ScoredCounts(counted, data)
        keep_tokenizer(run, data.tokenizer)
        if changed := changed_code(run):
            display.message(changed)
        record_environment(run)
        began, ids = time.perf_counter(), data.splits["train"].ids
        fitted = experiment.model.fit(
            ids, data.vocab_size, boundary_ids(data.tokenizer) or None, display.work
        )
        seconds = time.perf_counter() - began
        fitted.save(run / NGRAM)
        scored = ScoredCounts(CountedModel(experiment, data.tokenizer, fitted), data)
        begin(scored)
        _conclude(experiment, scored, run, seconds, display)
    return scored


def _conclude(
    experiment: CountExperiment,
    scored: ScoredCounts,
    run: Path,
    seconds: float,
    display: Display,
) -> None:
    """Make the evaluations; write and show what they found."""
    truncate_samples(run / "samples.txt", 0)
    found: dict[str, dict[str, float]] = {}
    for name, evaluation in experiment.evaluations.items():
        made = evaluation.run(scored, "validation", display.work)
        found[name] = made.scores
        display.close()
        for text in made.texts:
            append_sample(run / "samples.txt", 1, text)
            display.sample(1, text)
    tokens = len(scored.data.splits["train"].ids)
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
        "best": {"step": 1, "loss": found[experiment.watch]["loss"]},
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "data_wait": 0.0,
        "devices": 1,
        "platform": "cpu",
    }
    end_run(run, result)
