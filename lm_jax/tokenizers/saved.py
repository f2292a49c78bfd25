"""Trained tokenizers in words, and as JSON files."""

import dataclasses
import json
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import write_json
from lm_jax.tokenizers.characters import CharacterTokenizer
from lm_jax.tokenizers.subwords import SubwordTokenizer
from lm_jax.tokenizers.trained import UNKNOWN, Trained
from lm_jax.tokenizers.utf8 import ByteTokenizer
from lm_jax.tokenizers.words import WordTokenizer

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (CharacterTokenizer, ByteTokenizer, WordTokenizer, SubwordTokenizer)
}


def describe(tokenizer: Trained) -> str:
    """Say in a sentence what the vocabulary is."""
    kind = type(tokenizer).__name__.removesuffix("Tokenizer").lower()
    parts = [f"Tokens are {kind}s: a vocabulary of {tokenizer.vocab_size:,}"]
    if tokenizer.unknown_id is not None:
        parts.append(f"{UNKNOWN} stands for all others")
    if tokenizer.end_id is not None:
        parts.append("a token of its own ends each document")
    return ", ".join(parts) + "."


def save_tokenizer(tokenizer: Trained, path: Path) -> None:
    """Write a trained tokenizer as one JSON file."""
    fields = dataclasses.asdict(tokenizer)  # type: ignore[call-overload]
    write_json(path, {"kind": type(tokenizer).__name__, **fields})


def load_tokenizer(path: Path) -> Trained:
    """Read what `save_tokenizer` wrote.

    Raises:
        UserError: the file is missing or is no such tokenizer.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        kind = _KINDS[fields.pop("kind")]
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return kind(**values)
    except FileNotFoundError as error:
        raise UserError(f"There is no tokenizer at {path}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: it holds no tokenizer.") from error
