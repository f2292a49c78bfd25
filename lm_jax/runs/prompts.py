"""Prompts out of a file, and what was written for them as lines of JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.runs.writing import Written


def read_prompts(path: Path | str) -> list[str]:
    """Read prompts: one a line, or the "prompt" of each line's object in .jsonl.

    Raises:
        UserError: the file can't be read, or a line has no prompt; with its number.
    """
    lines = read_text(path, "--prompts").split("\n")
    path = given_path(path, "--prompts")
    if not lines[-1]:
        lines.pop()
    if path.suffix != ".jsonl":
        return [line.removesuffix("\r") for line in lines]
    return [_prompt(line, f"{path}, line {n}") for n, line in enumerate(lines, 1)]


def _prompt(line: str, where: str) -> str:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is no JSON: {error}.") from error
    prompt = found.get("prompt") if isinstance(found, dict) else None
    if not isinstance(prompt, str):
        raise UserError(f'{where} has no text as its "prompt".')
    return prompt


def read_text(path: Path | str, option: str) -> str:
    """Read the text of a file.

    Args:
        path: of it.
        option: of the command that names it.

    Raises:
        UserError: it can't be read.
    """
    path = given_path(path, option)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{option} {path} can't be read: {error}.") from error


def as_line(found: Sequence[Written]) -> str:
    """Give what was written for one prompt as one line of JSON, the best first.

    Further texts of a beam search stand in "others".
    """
    best, *others = map(_document, found)
    best |= {"others": others} if others else {}
    return json.dumps(best, ensure_ascii=False)


def _document(found: Written) -> dict[str, Any]:
    rounded = [round(value, 5) for value in found.log_probabilities]
    whole = found._asdict() | {"tokens": list(found.tokens)}
    return whole | {"log_probabilities": rounded, "score": round(found.score, 5)}
