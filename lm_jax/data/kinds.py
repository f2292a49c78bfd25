"""The kinds of data value, and what each gives."""

from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

from lm_jax.data.answer_spans import AnswerSpans
from lm_jax.data.answers import AnswerPairs, Answers
from lm_jax.data.carried import CarriedStream
from lm_jax.data.contexts import WordContexts
from lm_jax.data.conversations import Conversations
from lm_jax.data.cooccurrence import Cooccurrences
from lm_jax.data.labelled import Labelled
from lm_jax.data.masking import MaskedStream
from lm_jax.data.mixture import Mixture
from lm_jax.data.packing import PackedDocuments
from lm_jax.data.pairs import SentencePairs
from lm_jax.data.passages import Passages
from lm_jax.data.prepared import Prepared
from lm_jax.data.rated import Rated
from lm_jax.data.rated_pairs import RatedPairs
from lm_jax.data.spans import SpanCorruption
from lm_jax.data.stories import Stories
from lm_jax.data.streams import TokenStream
from lm_jax.data.text_pairs import TextPairs
from lm_jax.data.token_labels import TokenLabels
from lm_jax.data.tokens import Progress

Data = (
    TokenStream
    | CarriedStream
    | PackedDocuments
    | Mixture
    | MaskedStream
    | SentencePairs
    | SpanCorruption
    | WordContexts
    | Cooccurrences
    | Labelled
    | Rated
    | RatedPairs
    | Answers
    | AnswerPairs
    | Conversations
    | Passages
    | TextPairs
    | AnswerSpans
    | Stories
    | TokenLabels
)


@runtime_checkable
class OwnData(Protocol):
    """A kind of one's own: any value that can be prepared."""

    def prepare(self, cache: Path, progress: Progress | None = None) -> Prepared:
        """Give tokens and examples, read from the cache what is there."""


def giving(field: str) -> list[str]:
    """Name the kinds of data whose examples have a field."""
    return [kind.__name__ for kind in get_args(Data) if field in kind.gives]
