"""The kinds of data value, and what each gives."""

from typing import get_args

from lm_jax.data.carried import CarriedStream
from lm_jax.data.contexts import WordContexts
from lm_jax.data.cooccurrence import Cooccurrences
from lm_jax.data.masking import MaskedStream
from lm_jax.data.mixture import Mixture
from lm_jax.data.packing import PackedDocuments
from lm_jax.data.spans import SpanCorruption
from lm_jax.data.streams import TokenStream

Data = (
    TokenStream
    | CarriedStream
    | PackedDocuments
    | Mixture
    | MaskedStream
    | SpanCorruption
    | WordContexts
    | Cooccurrences
)


def giving(field: str) -> list[str]:
    """Name the kinds of data whose examples have a field."""
    return [kind.__name__ for kind in get_args(Data) if field in kind.gives]
