"""A tokenizer that comes with a checkpoint: the tokenizer.json of `tokenizers`."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError
from lm_jax.files import given_path, near, neighbour
from lm_jax.tokenizers.trained import Around, Ids, visible
from lm_jax.tokenizers.utf8 import utf8

FILE = "tokenizer.json"
# What tokens of their own are for, as tokenizer_config.json names them.
ROLES = ("bos", "eos", "sep", "cls", "mask", "pad")
# What comes back otherwise tells that something is forgotten.
_PROBE = " The  Café cafe\u0301 of\ufb01ce\xa0\uff12\n\tends here. "
_BYTE = re.compile("<0x([0-9A-F]{2})>")
# Models whose tokens are words, or parts of words between spaces.
_WORDS = ("WordPiece", "WordLevel")


def _byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level piece stands for.

    Bytes that Latin-1 prints are their own characters, and the others, in their order,
    those from 256 on (Radford et al. 2019, as GPT-2's encoder has it).
    """
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    found = {chr(byte): byte for byte in printed}
    return found | {chr(256 + k): byte for k, byte in enumerate(others)}


_BYTES = _byte_of_character()


@dataclass(frozen=True)
class Pretrained:
    """The tokenizer of a Hugging Face folder, as it was trained there."""

    path: str = ""
    """The folder, with a tokenizer.json in it."""

    def train(self, texts: Iterable[str], end: bool = False) -> "PieceTokenizer":
        """Read it; `texts` is not read, and documents end as they did there.

        Raises:
            UserError: there is none, or none that can be read.
        """
        return read_pretrained(given_path(self.path, "data.tokenizer.path"))


def read_pretrained(folder: Path) -> "PieceTokenizer":
    """Read tokenizer.json, and which tokens begin and end a text.

    Raises:
        UserError: it is missing, or of a kind that `tokenizers` doesn't know.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {near(folder)}.{neighbour(folder)} A checkpoint of "
            "Hugging Face is fetched by `hf download ID --local-dir FOLDER`."
        )
    path = folder / FILE
    if (folder / "experiment.json").exists():
        raise UserError(
            f"{near(folder)} is a run, and no folder of Hugging Face: Kept(run) is "
            "the tokenizer that a run has."
        )
    if not path.exists() and (folder / "source.spm").exists():
        raise UserError(
            f"{near(folder)} has no {FILE}: its tokenizer is Marian's, of two "
            "SentencePiece models (source.spm, target.spm), and a run has one. Write a "
            f"{FILE} that cuts texts as they do, with the ids of vocab.json."
        )
    if not path.exists():
        others = [p.name for p in (*folder.glob("*.model"), *folder.glob("vocab.*"))]
        there = f" Of {others[0]} alone it can't be read:" if others else ""
        raise UserError(
            f"{near(folder)} has no {FILE}.{there} AutoTokenizer.from_pretrained("
            "FOLDER).save_pretrained(FOLDER) of transformers writes one."
        )
    try:
        document = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{near(path)} can't be read: {error}.") from error
    named = _named(folder)
    made = PieceTokenizer(document, **{role: named.get(role) for role in ROLES})
    try:
        known = made.pieces.get_vocab(with_added_tokens=True)
    except Exception as error:  # the library has no kind of its own
        raise UserError(
            f"{near(path)} is of a kind that the library tokenizers doesn't know: "
            f"{str(error)[:200]}."
        ) from error
    for role in ROLES:
        token = getattr(made, role)
        if token is not None and token not in known:
            raise UserError(
                f"{near(path)} has no token '{token}', which tokenizer_config.json "
                f"names as {role}_token."
            )
    return made


def _named(folder: Path) -> dict[str, str]:
    """The tokens that have a role, by it."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            said = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"{near(folder / name)} can't be read: {error}.") from error
        for role in ROLES:
            token = said.get(f"{role}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if token is not None:
                found[role] = token
    return found


@dataclass(frozen=True)
class PieceTokenizer:
    """A tokenizer.json, whole, and the tokens of it that no word makes.

    A text is encoded without what the file puts around it. What stands between
    documents, and before a prompt, is one token: the one that begins a text (or ends
    one, where none begins it). A text that spells such a token has it, as in
    `tokenizers` itself.
    """

    document: str
    bos: str | None = None
    eos: str | None = None
    sep: str | None = None
    cls: str | None = None
    mask: str | None = None
    pad: str | None = None
    sentence_end_id = None

    @cached_property
    def pieces(self) -> Any:
        """The library's own tokenizer, which cuts and fills nothing."""
        import tokenizers

        made = tokenizers.Tokenizer.from_str(self.document)
        made.no_truncation()
        made.no_padding()
        return made

    @cached_property
    def _model(self) -> dict[str, Any]:
        return json.loads(self.document)["model"]

    @cached_property
    def vocab_size(self) -> int:
        """Number of ids: one more than the highest."""
        return max(self.pieces.get_vocab(with_added_tokens=True).values()) + 1

    def id_of(self, role: str) -> int | None:
        """Give the id of the token with a role, such as "mask"."""
        token = getattr(self, role)
        return None if token is None else self.pieces.token_to_id(token)

    @property
    def end_id(self) -> int | None:
        """Id of what stands between documents."""
        ids = (self.id_of(role) for role in ("bos", "eos", "sep"))
        return next((i for i in ids if i is not None), None)

    @cached_property
    def around(self) -> Around | None:
        """What the file puts around texts, where one is a class token (BERT's)."""
        if self.cls is None:
            return None
        pair = self.pieces.encode("", "", add_special_tokens=True).ids
        if len(pair) < 3 or pair[0] != self.id_of("cls"):
            return None
        return Around((pair[0],), tuple(pair[2:-1]), pair[-1])

    @property
    def unknown_id(self) -> int | None:
        """Id of everything unknown, None where bytes stand for it."""
        model = self._model
        if model.get("byte_fallback"):
            return None
        if "unk_id" in model:
            return model["unk_id"]
        token = model.get("unk_token")
        return None if token is None else self.pieces.token_to_id(token)

    @cached_property
    def joiner(self) -> str:
        """What stands between tokens: a space where they are of words."""
        return " " if self._model.get("type") in _WORDS else ""

    @cached_property
    def forgets(self) -> str:
        """Say what tokens don't tell of a text; "" where they tell all."""
        probe = "".join(filter(self._knows, _PROBE))
        lost = self._plain(self.encode(probe)) != probe
        if not lost:
            return ""
        return "capitals, accents, forms of letters or white space that its tokens lack"

    @cached_property
    def _silent(self) -> frozenset[int | None]:
        return frozenset(self.id_of(role) for role in ("bos", "eos"))

    def encode(self, text: str) -> Int32[np.ndarray, " tokens"]:
        """Give the ids of a text, with nothing before or after it.

        Raises:
            UserError: characters that it lacks, without a token for what is unknown.
        """
        return np.array(self._cut(text).ids, np.int32)

    def words(self, text: str) -> list[int | None]:
        """Give the number of each token's word, as the file parts a text into them.

        Raises:
            UserError: as `encode`.
        """
        return self._cut(text).word_ids

    def _cut(self, text: str) -> Any:
        """Cut a text into tokens, each with where it stands.

        Raises:
            UserError: as `encode`.
        """
        utf8(text)  # It says what is wrong with text that is no Unicode.
        try:
            return self.pieces.encode(text, add_special_tokens=False)
        except Exception as error:  # the library has no kind of its own
            missing = [repr(c) for c in sorted(set(text)) if not self._knows(c)]
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            said = f"lacks {', '.join(missing[:10])}{more}" if missing else str(error)
            raise UserError(
                f"The tokenizer, of {self.vocab_size:,} tokens and none for what is "
                f"unknown, can't cut this text: {said}. Leave it out."
            ) from error

    def _knows(self, character: str) -> bool:
        """Whether a character has a token, be it that for what is unknown."""
        try:
            self.pieces.encode(character, add_special_tokens=False)
        except Exception:  # the library has no kind of its own
            return False
        return True

    def canonical(self, text: str) -> str:
        """Give the text that tokens code: `decode`'s, with each <unk> spelled."""
        if not self.forgets:
            return text
        made = self._cut(text)
        parts: list[str] = []
        known: list[int] = []
        for i, (start, stop) in zip(made.ids, made.offsets, strict=True):
            if i == self.unknown_id:
                parts += [self._plain(known), text[start:stop]]
                known = []
            else:
                known.append(i)
        parts.append(self._plain(known))
        return self.joiner.join(part for part in parts if part)

    def unspelled(self, text: str) -> list[str]:
        """Give what becomes the unknown token, a string a token."""
        made = self._cut(text)
        pairs = zip(made.ids, made.offsets, strict=True)
        return [text[a:b] for i, (a, b) in pairs if i == self.unknown_id]

    def decode(self, ids: Ids) -> str:
        """Give the text of ids; what begins and ends a text is decoded to nothing."""
        return self._plain([i for i in map(index, ids) if i not in self._silent])

    def _plain(self, ids: Ids) -> str:
        return self.pieces.decode(list(map(int, ids)), skip_special_tokens=False)

    def symbols(self, ids: Ids) -> list[str]:
        """Give each id as it is to be printed."""
        return [visible(self._symbol(index(i))) for i in ids]

    def _symbol(self, i: int) -> str:
        token = self.pieces.id_to_token(i)
        if token is None:
            return f"<{i}>"
        added = self.pieces.get_added_tokens_decoder()
        if i in added or not self._in_bytes:
            return token.replace("▁", " ")
        text = self.pieces.decoder.decode([token])
        return token if "\ufffd" in text else text

    @cached_property
    def _in_bytes(self) -> bool:
        """Whether a piece spells the bytes of a text, each as a character."""
        return '"ByteLevel"' in json.dumps(json.loads(self.document).get("decoder"))

    def spellings(self) -> list[bytes]:
        """Give each piece; tokens that are no text, and holes, spell nothing."""
        special = self.pieces.get_added_tokens_decoder()
        spelled = []
        for i in range(self.vocab_size):
            token = self.pieces.id_to_token(i)
            if token is None or i == self.unknown_id:
                spelled.append(b"")
            elif i in special:
                text = "" if special[i].special else special[i].content
                spelled.append(text.encode())
            else:
                spelled.append(self._spelling(token))
        return spelled

    def _spelling(self, token: str) -> bytes:
        """The bytes of a piece as models write it."""
        if self._in_bytes:
            known = all(c in _BYTES for c in token)
            return bytes(_BYTES[c] for c in token) if known else b""
        if self._model.get("byte_fallback") and (byte := _BYTE.fullmatch(token)):
            return bytes([int(byte[1], 16)])
        return f"{self.joiner}{token.replace('▁', ' ')}".encode()
