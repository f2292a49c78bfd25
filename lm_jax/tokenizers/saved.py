"""Trained tokenizers in words, and as JSON files."""

import dataclasses
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import write_json
from lm_jax.tokenizers.characters import CharacterTokenizer
from lm_jax.tokenizers.ids import IdTokenizer
from lm_jax.tokenizers.pretrained import PieceTokenizer
from lm_jax.tokenizers.specials import WithSpecials
from lm_jax.tokenizers.subwords import SubwordTokenizer
from lm_jax.tokenizers.terms import TermTokenizer
from lm_jax.tokenizers.trained import UNKNOWN, Trained
from lm_jax.tokenizers.utf8 import ByteTokenizer
from lm_jax.tokenizers.words import WordTokenizer

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        CharacterTokenizer,
        ByteTokenizer,
        WordTokenizer,
        TermTokenizer,
        SubwordTokenizer,
        IdTokenizer,
        PieceTokenizer,
        WithSpecials,
    )
}


def describe(tokenizer: Trained) -> str:
    """Say in a sentence what the vocabulary is."""
    kind = type(tokenizer).__name__.removesuffix("Tokenizer").lower()
    parts = [f"Tokens are {kind}s: a vocabulary of {tokenizer.vocab_size:,}"]
    if tokenizer.unknown_id is not None:
        parts.append(f"{UNKNOWN} stands for all others")
    if tokenizer.end_id is not None:
        parts.append("a token of its own ends each document")
    whole = ", ".join(parts) + "."
    if tokenizer.forgets:
        whole += f" They forget {tokenizer.forgets}: bytes are counted without."
    return whole


def save_tokenizer(tokenizer: Trained, path: Path) -> None:
    """Write a trained tokenizer as one JSON file."""
    write_json(path, _document(tokenizer))


def digest(tokenizer: Trained) -> str:
    """Give the sha256 of a trained tokenizer: of all that its ids depend on."""
    text = json.dumps(_document(tokenizer), sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _document(tokenizer: Any) -> dict[str, Any]:
    fields = {f.name: getattr(tokenizer, f.name) for f in dataclasses.fields(tokenizer)}
    inner = {
        name: _document(value)
        for name, value in fields.items()
        if dataclasses.is_dataclass(value)
    }
    return {"kind": type(tokenizer).__name__, **fields, **inner}


def load_tokenizer(path: Path) -> Trained:
    """Read what `save_tokenizer` wrote.

    Raises:
        UserError: the file is missing or is no such tokenizer.
    """
    try:
        return _rebuilt(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"There is no tokenizer at {path}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: it holds no tokenizer.") from error


def _rebuilt(document: dict[str, Any]) -> Any:
    kind = _KINDS[document.pop("kind")]
    values = {
        name: _rebuilt(value) if isinstance(value, dict) else value
        for name, value in document.items()
    }
    return kind(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )
