"""How the turns of a conversation are written as one row of tokens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from lm_jax.errors import UserError, nearest
from lm_jax.platform import from_extra
from lm_jax.text import Turn
from lm_jax.text.dialogues import ROLES, Role
from lm_jax.tokenizers import Trained

__all__ = ["NAMED_TURNS", "Role", "Template", "Turn", "answer_template"]

# Three of Unicode's noncharacters (23.7), which no text has: the end of a document, and
# what parts the contents of a turn, of the assistant's or of another, from what the
# template writes around them.
_END, _PART, _ANSWER = "\ufdd0", "\ufdd1", "\ufdd2"


class Marked(NamedTuple):
    """The tokens of a conversation.

    Attributes:
        ids: of them.
        answers: true for what the assistant says, and for what ends that.
    """

    ids: Int32[np.ndarray, " tokens"]
    answers: Bool[np.ndarray, " tokens"]


@dataclass(frozen=True)
class Template:
    """How turns become tokens: for the data that teaches answers, and to ask for one.

    The template owns every token that is no text, that at the beginning among them:
    what reads a conversation adds none. A turn's content is encoded by itself, so
    nothing that is said in it makes tokens of the template's.
    """

    source: str
    """Jinja. It sees ``turns``, each with ``role`` and ``content``; ``answer``, true
    where the assistant is to speak next; and ``end``, the end of a document (nothing,
    where the tokenizer marks none)."""
    stops: tuple[str, ...] = ()
    """Strings that end an answer, beside the end of a document."""

    def ids(
        self, turns: Sequence[Turn], tokenizer: Trained, answer: bool = True
    ) -> Int32[np.ndarray, " tokens"]:
        """Give the tokens of some turns.

        Args:
            turns: the conversation.
            tokenizer: of the model.
            answer: whether the assistant is to speak next.

        Raises:
            UserError: the template is none, or can't write such turns; the vocabulary
                lacks something of them; they have a character that marks an end.
        """
        return self._encoded(self._text(turns, answer), tokenizer).ids

    def marked(self, turns: Sequence[Turn], tokenizer: Trained) -> Marked:
        """Give the tokens of a whole conversation, and which of them are answers.

        What ends an answer is the end of a document, or the first of ``stops``, with
        whatever the template writes before it.

        Args:
            turns: the conversation.
            tokenizer: of the model.

        Raises:
            UserError: as `ids`; the template ends an answer by neither.
        """
        text = self._text(turns, answer=False)
        ends = self._ends(tokenizer)
        if not all(_to_end(after, ends) for after in text.split(_ANSWER)[2::2]):
            raise UserError(
                "The template doesn't say where an answer ends: after what the "
                "assistant says it writes neither `end` (or the tokenizer has none) "
                "nor one of its `stops`. A model would learn no end."
            )
        return self._encoded(text, tokenizer)

    def parts(self, turns: Sequence[Turn]) -> list[str]:
        """Give what is said and what the template writes around it, each by itself."""
        marks = f"[{_END}{_PART}{_ANSWER}]"
        return [p for p in re.split(marks, self._text(turns, answer=False)) if p]

    def _ends(self, tokenizer: Trained) -> tuple[str, ...]:
        """What may end an answer."""
        return self.stops if tokenizer.end_id is None else (_END, *self.stops)

    def _encoded(self, text: str, tokenizer: Trained) -> Marked:
        """Encode a rendered text, what the assistant says apart from the rest."""
        ends, spans = self._ends(tokenizer), list[tuple[str, bool]]()
        for k, part in enumerate(text.split(_ANSWER)):
            inside, cut = k % 2 == 1, _to_end(part, ends) if k else 0
            spans += (
                [(part, True)] if inside else [(part[:cut], True), (part[cut:], False)]
            )
        parts = [
            (ids, np.full(len(ids), answers))
            for span, answers in spans
            for ids in _parts(span, tokenizer)
        ]
        if not parts:
            return Marked(np.zeros(0, np.int32), np.zeros(0, bool))
        ids, answers = zip(*parts, strict=True)
        return Marked(np.concatenate(ids), np.concatenate(answers))

    def _text(self, turns: Sequence[Turn], answer: bool) -> str:
        for turn in turns:
            if turn.role not in ROLES:
                raise UserError(
                    f"A turn is by {turn.role!r}.{nearest(turn.role, ROLES)}"
                )
            if any(mark in turn.content for mark in (_END, _PART, _ANSWER)):
                raise UserError(
                    f"What the {turn.role} says has one of U+FDD0 to U+FDD2, which are "
                    "no characters: the template marks ends by them."
                )
        marks = {"assistant": _ANSWER}
        said = [
            {
                "role": turn.role,
                "content": turn.content.join([marks.get(turn.role, _PART)] * 2),
            }
            for turn in turns
        ]
        jinja2 = _jinja()
        try:
            text: str = self._compiled.render(turns=said, answer=answer, end=_END)
        except jinja2.TemplateError as error:
            raise UserError(f"The template can't write these turns: {error}") from error
        return text

    @cached_property
    def _compiled(self) -> Any:
        """The template, which reads and changes nothing but what it is given."""
        jinja2 = _jinja()
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined, keep_trailing_newline=True
        )
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                f"The template is no Jinja, line {error.lineno}: {error.message}"
            ) from error


NAMED_TURNS = Template(
    "{{ end }}{% for turn in turns %}{{ turn.role }}: {{ turn.content }}"
    "{{ end if turn.role == 'assistant' else '\\n' }}{% endfor %}"
    "{% if answer %}assistant: {% endif %}"
)
"""Each turn after the name of its side; an answer ends as a document does."""


def answer_template(between: str) -> Template:
    """Give the template of a prompt, what stands ``between``, and its answer.

    Args:
        between: parts the two; each answer ends as a document does.
    """
    after = f"end if turn.role == 'assistant' else {between!r}"
    each = f"{{% for turn in turns %}}{{{{ turn.content }}}}{{{{ {after} }}}}"
    return Template(f"{{{{ end }}}}{each}{{% endfor %}}")


def plain_template(tokenizer: Trained) -> Template:
    """Give a template for a model that never saw turns: one after another, no names.

    A line end follows each, and an empty line ends an answer, where the vocabulary has
    line ends; else a space, or nothing.
    """
    between = next((b for b in ("\n", " ") if _is_known(b, tokenizer)), "")
    stops = ("\n\n",) if between == "\n" else ()
    each = f"{{% for turn in turns %}}{{{{ turn.content }}}}{{{{ {between!r} }}}}"
    return Template(f"{{{{ end }}}}{each}{{% endfor %}}", stops)


def _is_known(text: str, tokenizer: Trained) -> bool:
    try:
        ids = tokenizer.encode(text)
    except UserError:
        return False
    return len(ids) > 0 and tokenizer.unknown_id not in ids


def _to_end(after: str, ends: Sequence[str]) -> int:
    """Give how many characters after an answer end it; 0 where nothing does."""
    own = after.partition(_PART)[0]
    found = [(own.find(end), len(end)) for end in ends if end in own]
    return sum(min(found, default=(0, 0)))


def _parts(text: str, tokenizer: Trained) -> Iterator[Int32[np.ndarray, " tokens"]]:
    """Encode what stands between the marks, each part by itself."""
    for part in re.split(f"([{_END}{_PART}])", text):
        if part == _END and tokenizer.end_id is not None:
            yield np.array([tokenizer.end_id], np.int32)
        elif part not in ("", _END, _PART):
            yield tokenizer.encode(part)


def _jinja() -> Any:
    try:
        import jinja2
        import jinja2.sandbox
    except ImportError as error:
        raise UserError(
            f"Templates need Jinja ({error}): {from_extra('serve')}"
        ) from error
    return jinja2
