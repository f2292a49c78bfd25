"""How the turns of a conversation are written as one row of tokens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int32

from lm_jax.errors import UserError, nearest
from lm_jax.tokenizers import Trained

Role = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")

# Two of Unicode's noncharacters (23.7), which no text has: the end of a document, and
# what parts the contents of a turn from what the template writes around them.
_END, _PART = "\ufdd0", "\ufdd1"


class Turn(NamedTuple):
    """What one side says."""

    role: Role
    content: str


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
        parts = list(_parts(self._text(turns, answer), tokenizer))
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def _text(self, turns: Sequence[Turn], answer: bool) -> str:
        for turn in turns:
            if turn.role not in ROLES:
                raise UserError(
                    f"A turn is by {turn.role!r}.{nearest(turn.role, ROLES)}"
                )
            if _END in turn.content or _PART in turn.content:
                raise UserError(
                    f"What the {turn.role} says has U+FDD0 or U+FDD1, which are no "
                    "characters: the template marks ends by them."
                )
        said = [
            {"role": turn.role, "content": f"{_PART}{turn.content}{_PART}"}
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
            f"Templates need Jinja ({error}): install the extra `serve`, "
            "LM_JAX_EXTRAS=serve for launch.sh."
        ) from error
    return jinja2
