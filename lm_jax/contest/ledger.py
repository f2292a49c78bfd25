"""The ledger of a contest: one JSON object a line, only ever appended to."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import writing
from lm_jax.runs.numbers import encoded


class Ledger:
    """What happened in a contest, in order; on the disk before anything follows.

    Args:
        path: of the file; it is made by the first entry.
    """

    def __init__(self, path: Path):
        self._path = path

    def append(self, event: str, **facts: Any) -> None:
        """Add an entry, with the time; it is on the disk when this returns.

        Raises:
            UserError: where the file can't be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = encoded({"event": event, "time": now, **facts})
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        with writing(self._path), open(self._path, "ab") as file:
            file.truncate(self._whole())
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """All entries; a last one that was cut short was never made.

        Raises:
            UserError: a line can't be read.
        """
        if not self._path.exists():
            return []
        lines = self._path.read_bytes()[: self._whole()].splitlines()
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise UserError(
                f"{self._path} is damaged ({error}): without its ledger a contest "
                "can't go on. Put it back as it was, or begin another (--out)."
            ) from error

    def _whole(self) -> int:
        """The bytes of the lines that have their end."""
        content = self._path.read_bytes() if self._path.exists() else b""
        return content.rfind(b"\n") + 1


@dataclass
class Proposal:
    """A recipe that was proposed; number 0 is the contest's own.

    Attributes:
        frozen: its entry: candidate, digest, level, pairs, best, ...
        seeds: of its pairs; none before they are drawn.
        runs: what was measured, by (pair, side).
        accepted: None as long as it is open.
        failed: why its run came to nothing, if it did.
    """

    frozen: dict[str, Any]
    seeds: list[int] = field(default_factory=list)
    runs: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    accepted: bool | None = None
    failed: str | None = None

    @property
    def number(self) -> int:
        """1 of the first."""
        return int(self.frozen["proposal"])

    @property
    def name(self) -> str:
        """For people."""
        if not self.number:
            return f"the contest's own, {self.frozen['candidate']}"
        return f"proposal {self.number}, {self.frozen['candidate']}"


def proposals(entries: Iterable[dict[str, Any]]) -> list[Proposal]:
    """What a ledger tells of its proposals, the contest's own first."""
    found: list[Proposal] = []
    for entry in entries:
        event = entry["event"]
        if event == "frozen":
            found.append(Proposal(entry, accepted=None if entry["proposal"] else True))
        elif event == "seeds":
            found[entry["proposal"]].seeds = entry["seeds"]
        elif event == "run":
            found[entry["proposal"]].runs[entry["pair"], entry["side"]] = entry
        elif event == "decided":
            found[entry["proposal"]].accepted = entry["accepted"]
            found[entry["proposal"]].failed = entry.get("failed")
    return found


def standing_best(found: list[Proposal]) -> Proposal:
    """The last that was accepted."""
    return [each for each in found if each.accepted][-1]


def walls(found: Iterable[Proposal]) -> Iterator[float]:
    """Seconds of all runs, with all that is around their steps."""
    for proposal in found:
        yield from (run["wall"] for run in proposal.runs.values())
