"""Conversations: who says what, in the forms that they are given out in."""

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lm_jax.errors import UserError, nearest
from lm_jax.text.opening import reading
from lm_jax.text.tables import named_rows

Role = Literal["system", "user", "assistant"]
ROLES = ("system", "user", "assistant")

_MEMBER = re.compile(r"(.*/)?dialogues_(train|validation|test)\.txt")


class Turn(NamedTuple):
    """What one side says."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns, the first one first."""

    turns: tuple[Turn, ...]

    def __str__(self) -> str:
        """Give what is said, a line a turn."""
        return "\n".join(f"{turn.role}: {turn.content}" for turn in self.turns)


def read_dialogues(path: Path) -> Iterator[Conversation]:
    """Read DailyDialog's archive of a split (Li et al. 2017): a dialogue a line.

    Its two sides take turns; that which begins is taken for the user.

    Raises:
        UserError: the file is no such archive, or a line is not of that form.
    """
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        said = [text.strip() for text in line.split("__eou__")]
        if said.pop() or len(said) < 2 or not all(said):
            raise UserError(
                f"{path}, line {number} is no dialogue: two turns or more, with "
                "__eou__ after each."
            )
        sides: tuple[Role, Role] = ("user", "assistant")
        yield Conversation(
            tuple(Turn(sides[k % 2], text) for k, text in enumerate(said))
        )


def _lines(path: Path) -> list[str]:
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if _MEMBER.fullmatch(n)]
            raw = archive.read(names[0]) if names else None
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is no zip archive that can be read: {error}.") from (
            error
        )
    if raw is None:
        raise UserError(
            f"{path} has no dialogues_train.txt, dialogues_validation.txt or "
            "dialogues_test.txt in it."
        )
    try:
        return raw.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{names[0]} in {path} is not UTF-8: {error}.") from error


def dialogue_lines(path: Path) -> Iterator[str]:
    """Make a document of each dialogue of an archive, a line a turn, without roles."""
    for conversation in read_dialogues(path):
        yield "\n".join(turn.content for turn in conversation.turns)


def read_messages(path: Path, column: str) -> Iterator[Conversation]:
    """Read rows of a table that hold a list of {"role", "content"} each.

    Raises:
        UserError: the file can't be read, or a row has no such list, another role, an
            empty content or no turn of the assistant.
    """
    for number, row in named_rows(path):
        place = f"{path}, line {number}"
        messages = row.get(column)
        if column not in row:
            raise UserError(f"{place} has no '{column}'.{nearest(column, row)}")
        if not isinstance(messages, list):
            raise UserError(f"{place}: '{column}' is no list of messages.")
        turns = tuple(
            _turn(message, f"{place}, message {k}")
            for k, message in enumerate(messages, 1)
        )
        if not any(turn.role == "assistant" for turn in turns):
            raise UserError(
                f"{place} has no message of the assistant: there is nothing to learn."
            )
        yield Conversation(turns)


def _turn(message: Any, place: str) -> Turn:
    role, content = (
        message.get(name) if isinstance(message, dict) else None
        for name in ("role", "content")
    )
    if not isinstance(role, str) or not isinstance(content, str):
        raise UserError(f'{place} is no {{"role": ..., "content": ...}} of two texts.')
    if role not in ROLES:
        raise UserError(f"{place} is by {role!r}.{nearest(role, ROLES)}")
    if not content.strip():
        raise UserError(f"{place} is empty: take it out, or write what is missing.")
    return Turn(role, content)  # type: ignore[arg-type]


# The forms of archives of conversations, and what reads them.
DIALOGUES: dict[str, Callable[[Path], Iterator[Conversation]]] = {
    "dialogues": read_dialogues
}
