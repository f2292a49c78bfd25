"""Work on chunks of text in threads, the results in the order of the chunks."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Chunk = TypeVar("_Chunk")
_Result = TypeVar("_Result")


def cores() -> int:
    """Give the cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has none
        return os.cpu_count() or 1


def in_order(
    function: Callable[[_Chunk], _Result], chunks: Iterable[_Chunk], workers: int
) -> Iterator[_Result]:
    """Call a function with chunks in their order, so many at a time.

    Each has a thread of its own. At most one more than that waits: what is in memory
    doesn't grow with the text.
    """
    if workers == 1:
        yield from map(function, chunks)
        return
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[_Result]] = deque()
        for chunk in chunks:
            running.append(pool.submit(function, chunk))
            if len(running) > workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
