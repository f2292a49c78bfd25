"""One side of the comparison, in a process of its own.

Reads one request a line as JSON and answers each with a line of JSON. It
computes only between the two, so that the other side has the machine meanwhile.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

from lm_jax.bench.sizes import SIZES
from lm_jax.platform import configure

MATRICES = ((2048, 384, 1536), (2048, 2048, 2048), (4096, 768, 3072))


class Worker:
    """A side with what it holds: the training of one size, or a model that writes."""

    def __init__(self, side: str):
        self.side = importlib.import_module(f"lm_jax.bench.{side}_side")
        self.train: Any = None
        self.writer: Any = None

    def version(self) -> dict:
        """What is measured, and in which modes."""
        return {"version": self.side.version(), "modes": self.side.MODES}

    def matrices(self, dtype: str) -> dict:
        """The best rate of some matrix products, in operations a second."""
        return {"rate": max(self.side.matrix_rate(dtype, *mkn) for mkn in MATRICES)}

    def prepare(self, size: str) -> dict:
        """Forget the size before and make the next one ready."""
        self.train = None
        self.train = self.side.training(SIZES[size])
        return {}

    def run(self, mode: str, steps: int) -> dict:
        """Train for some steps: seconds they took, and the last loss."""
        begin = time.perf_counter()
        loss = self.train(mode, steps)
        return {"seconds": time.perf_counter() - begin, "loss": loss}

    def make(self, **what: Any) -> dict:
        """Write a model with first values into a folder."""
        return self.side.make(**what)

    def open(self, folder: str) -> dict:
        """Read the model of a folder, to write with it."""
        self.writer = self.side.Writer(folder)
        return {}

    def write(self, **what: Any) -> dict:
        """Go on from prompts: seconds it took, and the tokens."""
        return self.writer.write(**what)


def main() -> None:
    """Answer requests until the input ends."""
    # What a library prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if sys.argv[1].startswith("jax"):
        configure()
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # one mode that fails doesn't end the others
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
