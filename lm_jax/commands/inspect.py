"""What a step of a run was trained on, token by token."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from lm_jax.commands.as_json import AsJson, print_json
from lm_jax.commands.options import read_options
from lm_jax.data.texts import TOKENS, of_pair, texts
from lm_jax.errors import UserError
from lm_jax.experiment import read
from lm_jax.runs.claim import check_data
from lm_jax.runs.directory import find_run
from lm_jax.runs.metrics import read_metrics
from lm_jax.tokenizers.trained import visible
from lm_jax.training.setup import CACHE


@dataclass(frozen=True)
class Options:
    """Decode and print exactly the batch that a step was trained on."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    step: int = 1
    """Which step, from 1."""
    row: int | None = None
    """Only this row of the batch, token by token with its target."""
    json: AsJson = False
    """Print {"step", "epoch", "rows": [{"text", "arrays": {NAME: [...]}}]}."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "inspect", args)
    run = find_run(options.run)
    experiment: Any = read(run)
    if not experiment.in_steps:
        raise UserError(
            f"{options.run} was fitted by counting its whole training split, "
            "without steps."
        )
    if options.step < 1:
        raise UserError(f"--step {options.step}: the first step is 1.")
    log = read_metrics(run / "metrics.jsonl")
    last = max((row["step"] for row in log), default=0)
    if options.step > last:
        print(
            f"The run is at step {last}; this is what a later step sees.",
            file=sys.stderr if options.json else None,
        )
    data = experiment.data.prepare(CACHE)
    check_data(data, run)
    order = data.order(experiment.seed_of("order"), experiment.batch)
    count = order.shape(options.step - 1).rows
    if options.row is not None and not 0 <= options.row < count:
        raise UserError(f"--row {options.row}: rows are 0 to {count - 1}.")
    batch = order.batch(options.step - 1)
    epoch = (options.step - 1) / order.steps_per_epoch
    if options.json:
        chosen = range(count) if options.row is None else [options.row]
        written = texts(data.tokenizer, batch)
        rows = [
            {
                "text": written[k] if written else None,
                "arrays": {name: a[k] for name, a in batch.items()},
            }
            for k in chosen
        ]
        print_json({"step": options.step, "epoch": epoch, "rows": rows})
        return
    first, length = (options.step - 1) * count, order.shape(options.step - 1).length
    which = f"{count} rows of {length} tokens"
    if len(order.shapes) == 1:
        which = f"rows {first} to {first + count - 1} of the order"
    print(f"step {options.step}: {which}, epoch {epoch:.3f}")
    if options.row is not None:
        _print_row(data.tokenizer, {k: v[options.row] for k, v in batch.items()})
        return
    for index, text in enumerate(texts(data.tokenizer, batch)):
        print(f"--- row {index} ---")
        print(text)


def _print_row(tokenizer, row: dict[str, np.ndarray]) -> None:
    """A line for each token: where it stands, what it is, what is predicted."""
    if "pair_inputs" in row:
        for which, name in enumerate(("chosen", "rejected")):
            print(f"{name}:")
            _print_row(tokenizer, of_pair(row, which))
        return
    names = [name for name in TOKENS if name in row]
    lengths = {len(row[name]) for name in names}
    answers = [name for name in ("targets", "originals") if name in row]
    if len(lengths) > 1 or "inputs" not in row or not answers:
        for name in names:
            print(f"{name}: {' '.join(map(_quoted, tokenizer.symbols(row[name])))}")
        return
    extra = [name for name in ("segments", "positions", "mask") if name in row]
    print("place" + "".join(f"{name:>11}" for name in extra) + "  input -> target")
    symbols = tokenizer.symbols(row["inputs"]), tokenizer.symbols(row[answers[0]])
    for place, (seen, wanted) in enumerate(zip(*symbols, strict=True)):
        values = "".join(f"{row[name][place]:>11}" for name in extra)
        print(f"{place:5}{values}  {_quoted(seen)} -> {_quoted(wanted)}")


def _quoted(symbol: str) -> str:
    """A symbol between quotes; what cannot be seen is spelled out once."""
    return f"'{visible(symbol)}'"
