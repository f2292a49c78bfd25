"""Our tokenizers as a tokenizer.json that transformers' AutoTokenizer loads."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)

from lm_jax.files import atomic_write
from lm_jax.tokenizers import Trained, WithSpecials
from lm_jax.tokenizers.characters import CharacterTokenizer
from lm_jax.tokenizers.pretrained import FILE, ROLES, PieceTokenizer
from lm_jax.tokenizers.subwords import SubwordTokenizer
from lm_jax.tokenizers.trained import END_OF_DOCUMENT, UNKNOWN
from lm_jax.tokenizers.utf8 import ByteTokenizer
from lm_jax.tokenizers.words import END_OF_SENTENCE, WordTokenizer

_SPACE_SIGN = "▁"
# No word of a text has this beginning; see `_words`.
_NONE = "\ue000"


def write_tokenizer(
    tokenizer: Trained, folder: Path, context: int, notes: list[str]
) -> dict[str, Any]:
    """Write tokenizer.json and tokenizer_config.json, where they can be.

    Args:
        tokenizer: of a run.
        folder: to write into.
        context: tokens that the model may see.
        notes: is told what could not be written as it is.

    Returns:
        What config.json is to say of the tokens that begin and end a text.
    """
    inner: Any = tokenizer
    names: tuple[str, ...] = ()
    if isinstance(tokenizer, WithSpecials):
        inner, names = tokenizer.tokenizer, tokenizer.names
    document = _document(inner)
    if document is None:
        kind = type(inner).__name__
        notes.append(f"No tokenizer is written: a {kind} knows numbers and no text.")
        return {"bos_token_id": None, "eos_token_id": None}
    made = Tokenizer.from_str(document)
    made.add_special_tokens(
        [AddedToken(n, special=True, normalized=False) for n in names]
    )
    atomic_write(folder / FILE, made.to_str(pretty=True))
    roles = _roles(inner, names)
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        **{f"{role}_token": token for role, token in roles.items()},
    }
    text = json.dumps(about, indent=2, ensure_ascii=False)
    atomic_write(folder / "tokenizer_config.json", text + "\n")
    ids = {f"{role}_token_id": made.token_to_id(token) for role, token in roles.items()}
    kept = ("bos_token_id", "eos_token_id", "pad_token_id")
    found = {k: ids.get(k) for k in kept[:2]}
    return found | {k: v for k, v in ids.items() if k == kept[2]}


def _roles(inner: Trained, names: Sequence[str]) -> dict[str, str]:
    """Which tokens begin and end a text, hide one or stand for none."""
    if isinstance(inner, PieceTokenizer):
        roles = {role: getattr(inner, role) for role in ROLES}
        return {role: token for role, token in roles.items() if token is not None}
    found = {}
    if inner.end_id is not None:
        found = dict.fromkeys(("bos", "eos"), END_OF_DOCUMENT)
    if inner.unknown_id is not None:
        found["unk"] = UNKNOWN
    if "<mask>" in names:
        found["mask"] = "<mask>"
    return found


def _document(tokenizer: Any) -> str | None:
    """The text of a tokenizer.json; None where there can be none."""
    if isinstance(tokenizer, PieceTokenizer):
        return tokenizer.document
    makers: dict[type, Any] = {
        ByteTokenizer: _bytes,
        CharacterTokenizer: _characters,
        WordTokenizer: _words,
        SubwordTokenizer: _subwords,
    }
    maker = makers.get(type(tokenizer))
    if maker is None:
        return None
    made: Tokenizer = maker(tokenizer)
    if tokenizer.end_id is not None:
        made.add_special_tokens([AddedToken(END_OF_DOCUMENT, normalized=False)])
    return made.to_str()


def _with_end(vocab: dict[str, int], tokenizer: Any) -> dict[str, int]:
    end = tokenizer.end_id
    return vocab if end is None else vocab | {END_OF_DOCUMENT: end}


def _bytes(tokenizer: ByteTokenizer) -> Tokenizer:
    """Bytes: pieces of one, written as the characters that GPT-2 gives them."""
    one = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocab = {_sign(byte): byte for byte in range(256)}
    made = Tokenizer(models.BPE(_with_end(vocab, tokenizer), []))
    made.pre_tokenizer, made.decoder = one, decoders.ByteLevel()
    return made


def _sign(byte: int) -> str:
    """The character that stands for a byte (Radford et al. 2019, 2.2)."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printed:
        return chr(byte)
    return chr(256 + [b for b in range(256) if b not in printed].index(byte))


def _characters(tokenizer: CharacterTokenizer) -> Tokenizer:
    """Characters: each a word, with nothing between; others are <unk> or refused."""
    vocab = {character: i for i, character in enumerate(tokenizer.characters)}
    if tokenizer.unknown:
        vocab[UNKNOWN] = len(vocab)
    made = Tokenizer(models.WordLevel(_with_end(vocab, tokenizer), UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return made


def _words(tokenizer: WordTokenizer) -> Tokenizer:
    """Words between white space; a line end is one."""
    vocab = {word: i for i, word in enumerate(tokenizer.words)}
    made = Tokenizer(models.WordLevel(vocab, UNKNOWN))
    steps: list[Any] = [normalizers.Lowercase()] * tokenizer.lowercase
    steps.append(normalizers.Replace("\n", f" {END_OF_SENTENCE} "))
    made.normalizer = normalizers.Sequence(steps)
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = END_OF_SENTENCE
    made.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix=_NONE, cleanup=False),  # a space before each
            decoders.Fuse(),
            *(
                decoders.Replace(written, "\n")
                for written in (f" {end} ", f" {end}", f"{end} ", end)
            ),
        ]
    )
    return made


def _subwords(tokenizer: SubwordTokenizer) -> Tokenizer:
    """SentencePiece's pieces, merged in the order of their scores or by likelihood."""
    pieces = tokenizer._pieces
    names = [pieces.id_to_piece(i) for i in range(len(pieces))]
    scores = [pieces.get_score(i) for i in range(len(pieces))]
    if not tokenizer.merged:
        scored = list(zip(names, scores, strict=True))
        model: Any = models.Unigram(scored, pieces.unk_id(), byte_fallback=True)
    else:
        vocab = {name: i for i, name in enumerate(names)}
        merges = _merges(vocab, dict(zip(names, scores, strict=True)))
        unknown = pieces.id_to_piece(pieces.unk_id())
        model = models.BPE(
            vocab, merges, unk_token=unknown, byte_fallback=True, fuse_unk=True
        )
    made = Tokenizer(model)
    steps: list[Any] = [normalizers.Lowercase()] * tokenizer.lowercase
    steps.append(normalizers.Replace(" ", _SPACE_SIGN))
    made.normalizer = normalizers.Sequence(steps)
    # A line end is a piece of its own, and no other has one.
    made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    made.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE_SIGN, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
        ]
    )
    return made


def _merges(vocab: dict[str, int], scores: dict[str, float]) -> list[tuple[str, str]]:
    """Pairs that make a piece: the best piece first, its parts by their ids."""
    found: list[tuple[float, tuple[str, str]]] = []
    for piece in vocab:
        if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
            continue
        cuts = (((piece[:k]), piece[k:]) for k in range(1, len(piece)))
        pairs = [(a, b) for a, b in cuts if a in vocab and b in vocab]
        pairs.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        found += [(scores[piece], pair) for pair in pairs]
    found.sort(key=lambda each: -each[0])
    return [pair for _, pair in found]
