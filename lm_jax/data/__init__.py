"""Tokens to examples to `batch(step)`; numpy and grain only, never jax.

`prepared` is what every kind of data becomes, and `order` and `loader` make batches of
it; `fields` names the arrays of an example. `tokens` and `token_files` keep the tokens
of a text on disk. Read `streams` first of the kinds, which `kinds` lists: each is a
value in a file of its own, which prepares itself. `windows` are of a split.
"""

from lm_jax.data.answer_spans import AnswerSpans
from lm_jax.data.answers import AnswerPairs, Answers
from lm_jax.data.augmenting import Augmentation, Delete, Mask, Swap
from lm_jax.data.bpe_dropout import BPEDropout
from lm_jax.data.carried import CarriedStream
from lm_jax.data.contexts import HuffmanTree, Noise, WordContexts
from lm_jax.data.conversations import Conversations
from lm_jax.data.cooccurrence import Cooccurrences
from lm_jax.data.fields import Field
from lm_jax.data.frame import Frame
from lm_jax.data.kinds import Data, OwnData, giving
from lm_jax.data.labelled import Labelled
from lm_jax.data.loader import Fed, batches, digest_of, feed, rows
from lm_jax.data.masking import MaskedStream
from lm_jax.data.mixture import Mixture
from lm_jax.data.order import (
    Buckets,
    Order,
    Shape,
    bucket_windows,
    sort_by_length,
)
from lm_jax.data.packing import PackedDocuments
from lm_jax.data.pairs import SentencePairs
from lm_jax.data.passages import Passages
from lm_jax.data.prepared import Prepared, Searchable
from lm_jax.data.rated import Rated
from lm_jax.data.rated_pairs import RatedPairs
from lm_jax.data.share import WHOLE, Share
from lm_jax.data.spans import SpanCorruption
from lm_jax.data.stories import Stories
from lm_jax.data.streams import TokenStream
from lm_jax.data.template import NAMED_TURNS, Template, answer_template
from lm_jax.data.text_pairs import TextPairs
from lm_jax.data.token_labels import TokenLabels
from lm_jax.data.tokens import Tokens, tokenize
from lm_jax.data.vectors import read_vectors, write_vectors
from lm_jax.tokenizers.chunks import Coded

__all__ = [
    "AnswerPairs",
    "AnswerSpans",
    "Answers",
    "Augmentation",
    "BPEDropout",
    "Buckets",
    "CarriedStream",
    "Coded",
    "Conversations",
    "Cooccurrences",
    "Data",
    "Delete",
    "Fed",
    "Field",
    "Frame",
    "HuffmanTree",
    "Labelled",
    "Mask",
    "MaskedStream",
    "Mixture",
    "NAMED_TURNS",
    "Noise",
    "Order",
    "OwnData",
    "PackedDocuments",
    "Passages",
    "Prepared",
    "Rated",
    "RatedPairs",
    "Searchable",
    "SentencePairs",
    "Shape",
    "Share",
    "SpanCorruption",
    "Stories",
    "Swap",
    "Template",
    "TextPairs",
    "TokenLabels",
    "TokenStream",
    "Tokens",
    "WHOLE",
    "WordContexts",
    "answer_template",
    "batches",
    "bucket_windows",
    "digest_of",
    "feed",
    "giving",
    "read_vectors",
    "rows",
    "sort_by_length",
    "tokenize",
    "write_vectors",
]
