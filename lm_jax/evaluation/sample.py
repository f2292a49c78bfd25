"""Text that a model writes, for people to read."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from lm_jax.bounds import within
from lm_jax.data import Prepared
from lm_jax.errors import NotFinite, UserError
from lm_jax.evaluation.fitted import Fitted, Found, Progress
from lm_jax.generation import Sampling
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.specials import spelled
from lm_jax.tokenizers.trained import prompted, written


@dataclass(frozen=True)
class Sample:
    """A prompt and what the model continues it with, or writes of it.

    Attributes:
        prompt: what the model continues, as the beginning of a document where the text
            has documents; None begins as the text does. What a model of sources
            reads; None is the first source of the split.
        length: tokens to generate; 0 generates nothing.
        sampling: how each token is drawn.
        every: how often; None is whenever the watched evaluation is made.
    """

    prompt: str | None = None
    length: int = within("[0, 2147483647]", 200)
    sampling: Sampling = Sampling(temperature=0.8)
    every: str | None = None

    watched: ClassVar[str] = ""
    larger_is_better: ClassVar[bool] = False

    def run(
        self, fitted: Fitted, split: str, progress: Progress | None = None
    ) -> Found:
        """Continue the prompt; nothing where the model writes no text."""
        if not self.length or not fitted.writes:
            return Found({})
        tokenizer, frame = fitted.data.tokenizer, fitted.data.frame
        given = spelled(tokenizer, self.prompt or "")
        prompt = prompted(tokenizer, self.prompt)
        if frame is not None:
            if self.prompt is None:
                given = first_source(fitted.data, split)
            prompt = frame.source(given, fitted.data.context)
        try:
            (new,) = fitted.generate([prompt], self.length, self.sampling, fitted.seed)
        except NotFinite as error:  # a sample is for the eye, and ends no training
            return Found({}, (f"({error})",))
        if frame is not None:
            both = written(tokenizer, given), written(tokenizer, new)
            return Found({}, (f"{both[0]}\n-> {both[1]}",))
        return Found({}, (written(tokenizer, np.concatenate([given, new])),))

    def check(self, tokenizer: Trained, name: str, empty: bool = False) -> None:
        """Refuse a prompt or a sampling now, not at the first evaluation.

        Args:
            tokenizer: of the run.
            name: of the evaluation.
            empty: whether the model continues no token too.

        Raises:
            UserError: naming the field.
        """
        self.sampling.check(tokenizer.vocab_size)
        flag = f"--evaluations.{name}"
        if not self.length or self.prompt is None:
            return
        try:
            found = len(spelled(tokenizer, self.prompt))
        except UserError as error:
            raise UserError(
                f"{flag}.prompt {self.prompt!r} is not of this text. "
                f"{error} Or give another prompt; {flag}.prompt None begins as the "
                f"text does, {flag}.length 0 draws no sample."
            ) from error
        if not found and not empty:
            raise UserError(
                f"{flag}.prompt is empty, and a model continues at least one token. "
                f"{flag}.prompt None begins as the text does; {flag}.length 0 draws no "
                "sample."
            )


def first_source(data: Prepared, split: str) -> Int[np.ndarray, " tokens"]:
    """Give the first source of a split, without what stands around it."""
    row = {name: array[0] for name, array in data.evaluation(split, 1)[0].items()}
    ids = row["source"][row["source_mask"]] if "source_mask" in row else row["source"]
    assert data.frame is not None
    before, after = len(data.frame.before), len(data.frame.after)
    return ids[before : len(ids) - after]
