"""The second kind of fit: one pass that counts, no gradient steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm_jax.counting.fitted import FittedNGram, load
from lm_jax.counting.generate import generate
from lm_jax.data import Prepared
from lm_jax.data.prepared import check_varied
from lm_jax.errors import UserError
from lm_jax.evaluation.likelihood import likelihood
from lm_jax.experiment import CountExperiment
from lm_jax.generation import Sampling
from lm_jax.runs.claim import check_data, claim
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.runs.environment import record_environment
from lm_jax.runs.metrics import append_sample, truncate_samples
from lm_jax.runs.result import about, write_result
from lm_jax.tokenizers.trained import boundary_ids

CACHE = Path(".lm_jax")
FILE = "ngram.npz"


@dataclass(frozen=True)
class Counted:
    """A model fitted by counting, and the corpus that it was fitted to."""

    data: Prepared
    fitted: FittedNGram
    step: int = 1

    @property
    def policy(self) -> str:
        """What the model sees before a token that it is scored on."""
        return f"the {self.fitted.order - 1} tokens before"

    def score(
        self, split: str, progress: Callable[[str, int, int], None] | None = None
    ) -> dict[str, float]:
        """Score every token of a split but the first, once."""
        self.data.evaluation(split, 1)  # refuses a split that isn't there
        tokens = self.data.splits[split]
        nats = -self.fitted.log_probabilities(tokens.ids, progress)
        return likelihood(float(nats.sum()), len(nats), tokens.spelled)

    def generate(
        self, prompts: list[np.ndarray], length: int, sampling: Sampling, seed: int
    ) -> np.ndarray:
        """Continue prompts of (tokens,): new tokens (batch, length)."""
        return generate(self.fitted, prompts, length, sampling, seed)


def count_run(experiment: CountExperiment, run: Path, display: Display) -> Counted:
    """Fit a model, score it, and write the run's directory.

    A run that has ended is read back: nothing is written.

    Raises:
        UserError: when the directory holds another experiment, is in use or
            can't be written; when the text is too short for the order, has no
            validation split or lacks what the prompt of the sample spells.
    """
    data = experiment.data.prepare(CACHE, display.work)
    _check(experiment, data)
    with open_run(run):
        claim(experiment, data, run)
        if (run / FILE).exists() and (run / "result.json").exists():
            display.message("The run has ended: there is nothing left to count.")
            return Counted(data, load(run / FILE))
        record_environment(run)
        begin = time.perf_counter()
        ids = data.splits["train"].ids
        fitted = experiment.model.fit(
            ids, data.vocab_size, boundary_ids(data.tokenizer) or None, display.work
        )
        seconds = time.perf_counter() - begin
        fitted.save(run / FILE)
        counted = Counted(data, fitted)
        scores = counted.score("validation", display.work)
        display.close()
        _sample(experiment, counted, run, display)
        result = about(experiment, experiment.model) | {
            "steps": 1,
            "tokens": len(ids),
            "parameters": fitted.parameters,
            "validation": scores,
            "best": {"step": 1, "loss": scores["loss"]},
            "seconds": seconds,
            "tokens_per_second": len(ids) / seconds,
            "data_wait": 0.0,
            "devices": 1,
            "platform": "cpu",
        }
        write_result(run, result)
    return counted


def _check(experiment: CountExperiment, data: Prepared) -> None:
    """Refuse now what can't be counted, scored or sampled."""
    experiment.model.check(len(data.splits["train"].ids), data.vocab_size)
    data.evaluation("validation", 1)
    check_varied(data)
    wanted = experiment.sample
    wanted.sampling.check(data.vocab_size)
    if wanted.length < 0:
        raise UserError("sample.length must be 0 (no sample) or more.")
    if wanted.length:
        data.tokenizer.encode(wanted.prompt)


def load_count(experiment: CountExperiment, run: Path) -> Counted:
    """Read a fitted model back.

    Raises:
        UserError: when it isn't there, is damaged, or the text is another now.
    """
    data = experiment.data.prepare(CACHE)
    check_data(data, run)
    return Counted(data, load(run / FILE))


def _sample(
    experiment: CountExperiment, counted: Counted, run: Path, display: Display
) -> None:
    wanted = experiment.sample
    if not wanted.length:
        return
    tokenizer = counted.data.tokenizer
    prompt = tokenizer.encode(wanted.prompt)
    new = counted.generate([prompt], wanted.length, wanted.sampling, experiment.seed)
    text = tokenizer.decode(np.concatenate([prompt, new[0]]))
    truncate_samples(run / "samples.txt", 0)
    append_sample(run / "samples.txt", 1, text)
    display.sample(1, text)
