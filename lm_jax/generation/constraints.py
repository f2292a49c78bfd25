"""Texts that are one of some choices, match an expression, or fit a schema.

What may follow a text is computed on the host, by llguidance, and given to the step as
an array of bits: nothing is compiled anew. A token's probability is the model's own,
divided by that of all allowed tokens, however the text is cut into them.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from lm_jax.errors import UserError
from lm_jax.generation.spelled import escaped, library, vocabulary_of
from lm_jax.generation.steps import Continuation, State
from lm_jax.tokenizers import Trained


@dataclass(frozen=True)
class Choices:
    """The text is one of these."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Regex:
    """The whole text matches a regular expression, of Rust's syntax.

    It is much like Python's, without looking around and back.
    """

    pattern: str


@dataclass(frozen=True)
class Schema:
    """The text is JSON that fits a JSON schema.

    Between its parts stands a space at most, or a line end with up to 16 spaces: a
    model that likes white space best could write it for ever.
    """

    document: str
    """The schema, as JSON."""


Constraint = Choices | Regex | Schema

_SPACES = {"whitespace_flexible": True, "whitespace_pattern": r"( |\n {0,16})"}
# A schema without any of them is none, or asks for nothing.
_KEYWORDS = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties"}
_KEYWORDS |= {"required", "items", "prefixItems", "minItems", "maxItems", "pattern"}
_KEYWORDS |= {"minLength", "maxLength", "minimum", "maximum", "format", "multipleOf"}
_KEYWORDS |= {"additionalProperties", "patternProperties", "exclusiveMinimum"}
_KEYWORDS |= {"exclusiveMaximum", "minProperties", "maxProperties"}
# Where the shortest match is looked for, to name it.
_LONGEST = 4096


class Row:
    """How far one text has come.

    Args:
        matcher: of llguidance, before the text.
        end: the token that ends a text; None is no token.
        known: tokens of the tokenizer.

    Attributes:
        allowed: a bit for each token that may follow, the lowest of a byte first.
        over: whether nothing may follow.
        whole: whether the text is what the constraint asks for.
    """

    def __init__(self, matcher: Any, end: int | None, known: int):
        self._matcher, self._end, self._known = matcher, end, known
        self._read: list[int] = []
        self._look()

    def add(self, token: int) -> None:
        """Go on by an allowed token.

        Raises:
            UserError: nothing that the tokenizer spells can follow it.
        """
        self._read.append(token)
        if token == self._end:
            self.over = self.whole = True
            return
        self._matcher.consume_token(token)
        self._look()

    def _look(self) -> None:
        """See what may follow."""
        bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise UserError(
                f"After {len(self._read)} tokens nothing that the tokenizer spells can "
                "follow: the constraint asks for what its vocabulary lacks."
            )
        self.whole = self._matcher.is_accepting()
        flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
        flags[self._known :] = 0
        others = flags.any() if self._end is None else np.delete(flags, self._end).any()
        self.over = self.whole and not others
        self.allowed = np.packbits(flags, bitorder="little")

    def fill(self, bits: UInt8[np.ndarray, " bytes"]) -> None:
        """Write what is allowed into the bits of a model's tokens."""
        count = min(len(bits), len(self.allowed))
        bits[:count], bits[count:] = self.allowed[:count], 0


class Grammar:
    """A constraint, made ready for a tokenizer.

    Args:
        constraint: what a text is to be.
        tokenizer: of the model.
        end: the token that ends a text; None is no token, and a text goes on as long
            as it may.

    Raises:
        UserError: llguidance isn't there; the constraint is none; the tokenizer's
            tokens don't spell text, or not what is asked for.
    """

    def __init__(self, constraint: Constraint, tokenizer: Trained, end: int | None):
        self._vocabulary = vocabulary_of(tokenizer, end)
        self._end, self._known = end, tokenizer.vocab_size
        self._what = _named(constraint)
        self._pattern = None
        if isinstance(constraint, Schema):
            if self._vocabulary.joined:
                raise UserError(
                    "A JSON schema needs a tokenizer that spells every mark of JSON, "
                    "and this one's tokens are words with spaces between them."
                )
            text = f"start: %json {_schema(constraint.document)}"
            self._matcher = self._made(text)
            self._start()
            return
        self._pattern = _pattern(constraint, tokenizer)
        if isinstance(constraint, Regex):
            # As it stands: inside other brackets its own would match those.
            self._made(_rule(self._pattern), checked=True)
        self._matcher = self._matching("*") if self._vocabulary.partial else None
        if self._matcher is None or self._matcher.is_error():
            # Too many words for llguidance: what can't be spelled is found on the way.
            self._matcher = self._made(_rule(self._whole))
        self._start()

    @property
    def _whole(self) -> str:
        return f"{' ' * self._vocabulary.joined}(?u:{self._pattern})"

    def _start(self) -> None:
        try:
            self.begin()
        except UserError as error:
            raise UserError(
                f"{self._what}: nothing of it can be spelled with this tokenizer, "
                "whose vocabulary lacks what it needs."
            ) from error

    def begin(self) -> Row:
        """Give the state of a text that has no token yet."""
        return Row(self._matcher.deep_copy(), self._end, self._known)

    def check(self, length: int) -> None:
        """Refuse what is longer than so many tokens, however it is cut into them.

        A schema is not looked at; nor is an expression beside so large a vocabulary
        that llguidance gives up.

        Raises:
            UserError: naming the fewest tokens that it needs.
        """
        if self._pattern is None or self._fits(length) is not False:
            return
        least = length + 1
        while least < _LONGEST and self._fits(least) is False:
            least = min(2 * least, _LONGEST)
        low, high = length + 1, least
        while low < high:
            middle = (low + high) // 2
            short = self._fits(middle) is False
            low, high = (middle + 1, high) if short else (low, middle)
        raise UserError(
            f"{self._what} needs {low} tokens or more, and the text may have {length}: "
            f"give it a length of {low} or more."
        )

    def _fits(self, length: int) -> bool | None:
        """Whether a match has at most so many tokens; None where that isn't known."""
        matcher = self._matching(f"{{0,{length}}}")
        if matcher.is_error():
            return None
        matcher.compute_bitmask()
        return not matcher.is_error()

    def _matching(self, times: str) -> Any:
        """What matches, and is spelled by some tokens."""
        spelled = rf"(?-u:(?s:(?:{self._vocabulary.tokens}){times}))"
        return self._vocabulary.matcher(_rule(self._whole, spelled))

    def _made(self, text: str, checked: bool = False) -> Any:
        matcher = self._vocabulary.matcher(text, checked)
        if matcher.is_error():
            raise UserError(
                f"{self._what} can't be used: {_reason(matcher.get_error())}."
            )
        return matcher


def _named(constraint: Constraint) -> str:
    match constraint:
        case Choices():
            return "The shortest of the choices"
        case Regex(pattern):
            return f"The regular expression {pattern!r}"
        case Schema():
            return "The JSON schema"


def _pattern(constraint: Choices | Regex, tokenizer: Trained) -> str:
    """An expression without anchors: all of the text matches it anyway."""
    if isinstance(constraint, Regex):
        pattern = constraint.pattern.removeprefix("^")
        pattern = pattern if pattern.endswith(r"\$") else pattern.removesuffix("$")
        return library().regex_to_lark(pattern)
    if not constraint.texts or not all(constraint.texts):
        raise UserError("Choices are texts, one or more, and none of them is empty.")
    for text in constraint.texts:
        # It raises what is wrong with characters that have no token.
        unknown, written = tokenizer.unspelled(text), tokenizer.canonical(text)
        tokenizer.encode(text)
        if unknown or written != text:
            other = f": it would be {written!r}" if written != text else ""
            raise UserError(
                f"The choice {text!r} can't be spelled with this tokenizer{other}."
            )
    return f"(?-u:{'|'.join(escaped(t.encode()) for t in constraint.texts)})"


def _schema(document: str) -> str:
    """A schema with white space that is bounded.

    Raises:
        UserError: it is no JSON, or no schema.
    """
    try:
        schema = json.loads(document)
    except ValueError as error:
        raise UserError(f"The JSON schema is no JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise UserError(
            f"The JSON schema is {json.dumps(schema)[:40]}: a schema is an object, "
            'such as {"type": "object"}.'
        )
    if schema and not _KEYWORDS & schema.keys():
        raise UserError(
            f"The JSON schema says nothing of the text: {', '.join(schema)[:60]} is no "
            'keyword of one. Fields are named in "properties".'
        )
    return json.dumps(schema | {"x-guidance": _SPACES})


def _rule(*patterns: str) -> str:
    """A grammar of one lexeme, which all of some expressions match."""
    return "start: TEXT\nTEXT: " + " & ".join(f"/{pattern}/" for pattern in patterns)


def _reason(message: str) -> str:
    """What is wrong, out of a message of llguidance."""
    found = re.search(r"^error: (.*)$", message, re.MULTILINE)
    if found:
        return found[1]
    first = message.partition("\n")[0]
    first = re.sub(r"^at \d+\(\d+\): ", "", first)
    first = re.sub(r"^invalid regex .* \(in regex\): ", "", first)
    return first.removeprefix("failed to compile JSON schema: ").rstrip(".")


class Guide:
    """What the texts of a batch may go on with, each as far as it has come.

    Args:
        grammar: of all of them.
        rows: number of texts.
        vocab_size: tokens of the model.
    """

    def __init__(self, grammar: Grammar, rows: int, vocab_size: int):
        self._rows = [grammar.begin() for _ in range(rows)]
        self._read = [0] * rows
        self._bits = np.zeros((rows, -(-vocab_size // 8)), np.uint8)

    def moved(self, state: State) -> State:
        """Note what the texts grew by, and give them what may follow."""
        text, firsts, ends = map(np.asarray, (state.text, state.firsts, state.ends))
        for number, row in enumerate(self._rows):
            for token in text[
                number, firsts[number] + self._read[number] : ends[number]
            ]:
                row.add(int(token))
            self._read[number] = int(ends[number] - firsts[number])
            row.fill(self._bits[number])
        over = np.array([row.over for row in self._rows])
        return state._replace(
            stops=jnp.where(over, state.ends, state.stops),
            own=state.own | {"allowed": jnp.asarray(self._bits)},
        )

    def marked(self, found: list[list[Continuation]]) -> list[list[Continuation]]:
        """Say of each text whether it is whole."""
        return [
            [one._replace(whole=row.whole) for one in each]
            for row, each in zip(self._rows, found, strict=True)
        ]
