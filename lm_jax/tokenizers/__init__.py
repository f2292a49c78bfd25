"""Text to tokens and back: trained, saved, read back; never imports jax.

`trained` says what every tokenizer offers. The kinds are `characters`, `utf8` (bytes),
`words`, `subwords`, `terms` and `ids`; `pretrained` and `kept` come from elsewhere.
`specials` adds tokens that no text spells, `saved` writes and reads, and `chunks` and
`encoders` are how a long text is encoded.
"""

from lm_jax.tokenizers.characters import Characters
from lm_jax.tokenizers.ids import Ids
from lm_jax.tokenizers.kept import Kept
from lm_jax.tokenizers.pretrained import Pretrained
from lm_jax.tokenizers.saved import load_tokenizer, save_tokenizer
from lm_jax.tokenizers.specials import WithSpecials
from lm_jax.tokenizers.subwords import Subwords
from lm_jax.tokenizers.terms import Terms
from lm_jax.tokenizers.trained import Trained
from lm_jax.tokenizers.utf8 import Bytes
from lm_jax.tokenizers.words import Words

Tokenizer = Characters | Bytes | Words | Terms | Subwords | Ids | Kept | Pretrained

__all__ = [
    "Bytes",
    "Characters",
    "Ids",
    "Kept",
    "Pretrained",
    "Subwords",
    "Terms",
    "Tokenizer",
    "Trained",
    "WithSpecials",
    "Words",
    "load_tokenizer",
    "save_tokenizer",
]
