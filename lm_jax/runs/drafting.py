"""A model whose tokens a smaller one proposes."""

from dataclasses import dataclass
from typing import Any

from lm_jax.errors import UserError
from lm_jax.generation.speculative import Speaker, speculate
from lm_jax.runs.model import NeuralModel
from lm_jax.runs.writing import Texts
from lm_jax.tokenizers.saved import digest


@dataclass(frozen=True, eq=False)
class Drafted(Texts):
    """Writes what the large model would, in fewer calls of it; see `speculate`.

    Attributes:
        large: decides.
        draft: proposes.
    """

    large: NeuralModel
    draft: NeuralModel

    @staticmethod
    def of(large: Any, draft: Any) -> "Drafted":
        """Put a draft before a model.

        Raises:
            UserError: one of them doesn't continue texts by a network, or their
                tokenizers differ.
        """
        for what, model in (("model", large), ("draft", draft)):
            fits = isinstance(model, NeuralModel) and model.writes
            if not fits or model.from_sources:
                raise UserError(
                    f"--draft is for networks that continue a text, and the {what} is "
                    "none."
                )
        if digest(large.tokenizer) != digest(draft.tokenizer):
            raise UserError(
                "--draft has another tokenizer than the model: train it on the same "
                "text with the same data.tokenizer, or import it with the model's."
            )
        return Drafted(large.experiment, large.tokenizer, large, draft)

    def continuations(
        self,
        prompts,
        length,
        sampling,
        seed,
        *,
        beam=None,
        end=None,
        numbers=None,
        grammar=None,
        watch=None,
    ):
        """Continue prompts of (tokens,); what a ``watch`` would end is made too.

        Raises:
            UserError: a beam or a constraint is asked for; a text is too long for both
                contexts.
        """
        if beam is not None:
            raise UserError("A search has no draft: leave --draft out, or the search.")
        if grammar is not None:
            raise UserError("A draft knows no constraint: leave one of them out.")
        speakers = [
            Speaker(each.model, each.params, each.context)
            for each in (self.large, self.draft)
        ]
        known = self.tokenizer.vocab_size
        found, _ = speculate(
            *speakers,
            *(prompts, length, sampling, seed),
            known=known,
            end=end,
            numbers=numbers,
        )
        return found
