"""A trace of some steps, for XProf and Perfetto."""

import re
import shlex
from pathlib import Path
from typing import Any

import jax

from lm_jax.distributed import writes
from lm_jax.durations import in_steps
from lm_jax.errors import UserError
from lm_jax.files import near
from lm_jax.runs.display import Display
from lm_jax.training.clock import Clock


class Profile:
    """Traces steps of a run: what the host and its devices do, instant by instant.

    Of several processes the first traces its own devices. A device is waited for
    before the first of these steps and after the last, and never in between.

    Args:
        steps: the first and the last that are traced: "10:13"; None traces none.
        run: its directory, into which the trace is written.

    Attributes:
        folder: of the trace.

    Raises:
        UserError: they are none.
    """

    def __init__(self, steps: str | None, run: Path = Path()):
        found = re.fullmatch(r"(\d+):(\d+)", steps or "")
        self.first, self.last = map(int, found.groups()) if found else (0, 0)
        if steps is not None and not 1 <= self.first <= self.last:
            raise UserError(
                f"--profile {steps}: give the first and the last step to trace, such "
                "as 10:13. Steps are counted from 1."
            )
        self.folder = run / "profile" / f"steps_{self.first}_to_{self.last}"
        self._traces = False

    def check(self, done: int, total: int) -> None:
        """See that all of these steps will be made.

        Args:
            done: steps that the run has made before.
            total: of its budget.

        Raises:
            UserError: some will not.
        """
        if self.last and not done < self.first <= self.last <= total:
            made = f", and {done:,} are made already" if done else ""
            raise UserError(
                f"--profile {self.first}:{self.last}: the run has {in_steps(total)}"
                f"{made}."
            )

    def before(self, step: int, state: Any) -> None:
        """Begin the trace before its first step.

        Args:
            step: that is made next, from 1.
            state: as the one before left it.
        """
        if step == self.first and writes():
            jax.block_until_ready(state)
            jax.profiler.start_trace(self.folder, create_perfetto_trace=True)
            self._traces = True

    def after(self, step: int, state: Any, display: Display, clock: Clock) -> None:
        """End the trace after its last step, and say where it lies."""
        if step != self.last or not self._traces:
            return
        jax.block_until_ready(state)
        with clock.during("trace"):  # it is written for seconds
            self.close()
        found = next(self.folder.rglob("perfetto_trace.json.gz"), self.folder)
        display.message(
            f"Steps {self.first} to {self.last} are traced. To see them, with the "
            f"package xprof, or at https://ui.perfetto.dev with the file {near(found)}:"
        )
        display.message(f"  xprof --logdir {shlex.quote(str(near(self.folder)))}")

    def close(self) -> None:
        """End the trace, wherever it is."""
        if self._traces:
            self._traces = False
            jax.profiler.stop_trace()
