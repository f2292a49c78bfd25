"""Which text, where it lies, how it is split; never imports jax.

`corpus` is the value of an experiment, `known` lists the names that it may have, and
`corpora` finds what it names; `folders`, `stores` and `hub` say where that lies.
`pieces` goes from files to documents and splits, by `opening`, `reading` and `tables`;
`splitting` says what is held out. What has a form of its own is read by a file named
after it: `labels`, `questions`, `stories`, `conversations`, `answered`, `collection`.
"""

from lm_jax.text.answered import find_pairs
from lm_jax.text.collection import Collection, Judged, read_collection
from lm_jax.text.conversations import Talks, find_conversations
from lm_jax.text.corpora import find
from lm_jax.text.corpus import Corpus
from lm_jax.text.dialogues import Conversation, Turn
from lm_jax.text.pieces import Columns
from lm_jax.text.questions import Asked, find_questions

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
