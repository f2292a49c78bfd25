"""A tokenizer's tokens as llguidance knows them: the bytes that each spells."""

import functools
from collections.abc import Sequence
from typing import Any

from lm_jax.errors import UserError
from lm_jax.platform import from_extra
from lm_jax.tokenizers import Trained

# Tokens may be parts of characters; and however a text is cut into tokens, it is one.
_HEAD = '%llguidance {"no_forcing": true, "allow_invalid_utf8": true}\n'
_CHECK = '%llguidance {"no_forcing": true}\n'
# Bytes that stand in no text of UTF-8.
_NO_TEXT = {0xC0, 0xC1, *range(0xF5, 0x100)}


class Vocabulary:
    """The tokens of a tokenizer as llguidance knows them.

    Attributes:
        joined: whether each token begins with a space: they are words.
        partial: whether there are texts that they don't spell.
        tokens: an expression of all of them, for their bytes.
    """

    def __init__(self, tokenizer: Trained, end: int | None):
        self._library = library()
        spelled = tokenizer.spellings()
        _check_spelled(tokenizer, spelled)
        # No text has this byte, and to llguidance it marks tokens that are no text.
        texts = [b"" if text[:1] == b"\xff" else text for text in spelled]
        if end is None:
            end = len(texts)
            texts.append(b"")
        texts[end] = b""
        self.joined = tokenizer.joiner == " "
        found = set(texts) - {b""}
        needed = (bytes([i]) for i in range(256) if i not in _NO_TEXT)
        self.partial = self.joined or not found.issuperset(needed)
        self.tokens = "|".join(map(escaped, sorted(found)))
        wrapper = self._library.TokenizerWrapper(_Tokens(texts, end))
        self._tokenizer = self._library.LLTokenizer(wrapper, slices=[])

    def matcher(self, text: str, checked: bool = False) -> Any:
        """Give what matches a grammar; of one that is none, what is in error.

        Args:
            text: the grammar.
            checked: whether it is of whole characters, as somebody wrote it.
        """
        text = (_CHECK if checked else _HEAD) + text
        return self._library.LLMatcher(self._tokenizer, text, log_level=0)


vocabulary_of: Any = functools.lru_cache(maxsize=4)(Vocabulary)


class _Tokens:
    """What llguidance asks of a tokenizer; it never cuts a text itself."""

    bos_token_id = None

    def __init__(self, texts: Sequence[bytes], end: int):
        self.tokens, self.eos_token_id, self.special_token_ids = texts, end, [end]

    def __call__(self, text: bytes) -> list[int]:
        return []


def library() -> Any:
    """Give llguidance.

    Raises:
        UserError: it isn't there, and how to install it.
    """
    try:
        import llguidance
    except ImportError as error:
        raise UserError(
            f"Constraints need llguidance: {from_extra('constraints')}"
        ) from error
    return llguidance


def _check_spelled(tokenizer: Trained, spelled: Sequence[bytes]) -> None:
    """See that tokens join to their text.

    Raises:
        UserError: they don't, as those of BERT.
    """
    ids = [i for i, text in enumerate(spelled) if _is_text(text)]
    ids = ids[:: 1 + len(ids) // 100]
    joined = b"".join(spelled[i] for i in ids).decode()
    if joined.removeprefix(" ") != tokenizer.decode(ids).removeprefix(" "):
        raise UserError(
            "This tokenizer's tokens don't join to a text as they stand: what it "
            "writes can't be constrained."
        )


def _is_text(spelled: bytes) -> bool:
    try:
        return bool(spelled.decode())
    except UnicodeDecodeError:
        return False


def escaped(text: bytes) -> str:
    """Give an expression of bytes that nothing else matches."""
    return "".join(f"\\x{byte:02X}" for byte in text)
