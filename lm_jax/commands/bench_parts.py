"""A training step, part by part."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from lm_jax.bench.jax_side import MODES, Training, matrix_rate
from lm_jax.bench.parts import Step, measure
from lm_jax.bench.sizes import SIZES, Mode, Name
from lm_jax.bench.worker import MATRICES
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.runs.display import Display


@dataclass(frozen=True)
class Options:
    """Trace training steps on the CPU: what each part takes, beside its products.

    "alone" is what a part's products of matrices would take at the best rate that such
    products reach here. What runs at once shares the time. Close other programs first.
    """

    sizes: tuple[Name, ...] = get_args(Name)
    """Of models, as `bench train` has them."""
    modes: tuple[Mode, ...] = MODES
    """float32 and bfloat16."""
    steps: int = 10
    """That are traced."""
    json: Path | None = None
    """Write the figures here too."""


def main(args: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: for options that can't be met.
    """
    options = read_options(Options, "bench parts", args)
    if options.steps < 1:
        raise UserError("--steps must be 1 or more.")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise UserError(f"--json {options.json}: there is no such folder.")
    display = Display(0, sys.stderr)
    with display.waiting("matrix products"):
        rates = {
            mode: max(matrix_rate(mode, *matrices) for matrices in MATRICES)
            for mode in options.modes
        }
    found: dict[str, dict[str, Step]] = {}
    for size in options.sizes:
        training, found[size] = Training(SIZES[size]), {}
        for mode, rate in rates.items():
            with display.waiting(f"{size} {mode}"):
                found[size][mode] = step = measure(training, mode, options.steps)
            print("\n".join(table(f"{size} {mode}", step, rate)), flush=True)
    if options.json is not None:
        figures = {
            size: {mode: asdict(step) for mode, step in steps.items()}
            for size, steps in found.items()
        }
        result = {"matrix_rates": rates, "steps": figures}
        atomic_write(options.json, json.dumps(result, indent=1) + "\n")


def table(title: str, step: Step, rate: float) -> list[str]:
    """Give the lines about one step, of at most 80 columns.

    Args:
        title: what is trained.
        step: as it was measured.
        rate: operations a second of products of matrices.
    """
    ms, traced = 1e3 * step.seconds, 1e3 * step.traced
    lines = [
        f"{title}: {ms:.1f} ms a step, {traced:.1f} traced",
        f"{step.instructions:,.0f} instructions; products at {rate / 1e9:,.0f} GFLOP/s",
        f"{'part':39}{'ms':>9}{'share':>7}{'products':>10}{'alone':>10}",
    ]
    rows = [
        (name, part.seconds, part.multiplying, part.flops / rate)
        for name, part in step.parts.items()
        if part.seconds >= 0.005 * step.traced
    ]
    whole = step.parts.values()
    rows.append(
        (
            "all of it",
            sum(part.seconds for part in whole),
            sum(part.multiplying for part in whole),
            sum(part.flops for part in whole) / rate,
        )
    )
    for name, seconds, multiplying, alone in rows:
        share = seconds / step.traced
        figures = [1e3 * value for value in (multiplying, alone)]
        shown = "".join(f"{x:>10.2f}" for x in figures) if multiplying else ""
        lines.append(f"{name[:39]:39}{1e3 * seconds:>9.2f}{share:>7.0%}{shown}")
    return [*lines, ""]
