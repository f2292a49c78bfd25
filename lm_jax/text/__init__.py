"""Which text, where it lies, how it is split; never imports jax."""

from lm_jax.text.answered import find_pairs
from lm_jax.text.asked import Asked, find_questions
from lm_jax.text.collection import Collection, Judged, read_collection
from lm_jax.text.conversations import Talks, find_conversations
from lm_jax.text.corpora import find
from lm_jax.text.corpus import Corpus
from lm_jax.text.dialogues import Conversation, Turn
from lm_jax.text.pieces import Columns

__all__ = [
    "Asked",
    "Collection",
    "Columns",
    "Conversation",
    "Corpus",
    "Judged",
    "Talks",
    "Turn",
    "find",
    "find_conversations",
    "find_pairs",
    "find_questions",
    "read_collection",
]
