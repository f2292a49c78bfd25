"""Which rows of a batch are one process's."""

from typing import NamedTuple


class Share(NamedTuple):
    """Which rows of each batch a process has: some of so many equal parts.

    Attributes:
        parts: the numbers of those it has, ascending.
        of: how many parts a batch has.
    """

    parts: tuple[int, ...] = (0,)
    of: int = 1

    def places(self, rows: int) -> list[int]:
        """The places of its rows in a batch of so many."""
        size = rows // self.of
        return [part * size + r for part in self.parts for r in range(size)]


WHOLE = Share()
