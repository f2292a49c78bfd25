"""What a step was trained on, or what a model says of a text, token by token."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from lm_jax.bounds import check, within
from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.data import Order
from lm_jax.data.texts import TOKENS, of_pair, texts
from lm_jax.data.windows import Row
from lm_jax.errors import UserError
from lm_jax.experiment import read
from lm_jax.files import atomic_write, given_path, near
from lm_jax.inspection.inspecting import inspect
from lm_jax.report.inspected import as_object, lines, rows
from lm_jax.report.inspected_page import inspected_page
from lm_jax.runs.claim import check_data
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.tokenizers import Trained
from lm_jax.tokenizers.trained import visible
from lm_jax.training.setup import CACHE


@dataclass(frozen=True)
class Options:
    """Look at what a step was trained on, or at what a model says of a text.

    Without --text: exactly the batch of a step, decoded. With it: the probability of
    each token, its rank and what was likelier; of a classifier its decision, and by
    which words (integrated gradients, and gradient x input).
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    step: int | None = None
    """Which step's batch, the first if not given; with --text of which checkpoint, the
    best if not given."""
    row: int | None = None
    """Only this row of the batch, token by token with its target."""
    text: tuple[str, ...] = ()
    """The text, or the two of a pair."""
    alternatives: int = within("[1, 100]", 5)
    """Likeliest tokens to name at each place."""
    label: str = ""
    """The class whose logit is explained; the likeliest if not given."""
    attention: bool = False
    """Make maps of softmax attention too, for --html and --json."""
    html: Path | None = None
    """File for a page that needs nothing but a browser: a heat map of the text."""
    json: bool = False
    """Print {"step", "epoch", "rows": [{"text", "arrays": {NAME: [...]}}]}; of a text
    {"run", "step", "text", "formulation", "log_probability", "tokens": [...]}, or
    {..., "outputs", "probabilities", "words": [...], "gap"}."""

    def __post_init__(self) -> None:
        """Refuse what is of the other kind of look."""
        check(self, "inspect")
        if self.text and self.row is not None:
            raise UserError("--row is of a batch, and --text of no batch: give one.")
        for name in ("html", "attention", "label"):
            if getattr(self, name) and not self.text:
                raise UserError(f"--{name} is of a text: give --text.")
        if self.attention and not (self.html or self.json):
            raise UserError("--attention is shown by --html FILE or --json: give one.")


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "inspect", args)
    run = find_run(options.run)
    if options.text:
        _look_at_text(options, run)
    else:
        _look_at_batch(options, run)


def _look_at_text(options: Options, run: Path) -> None:
    """Print what a model says of a text, and write the page."""
    page = given_path(options.html, "--html") if options.html else None
    aside = Display(0, sys.stderr)
    with aside.waiting(f"reading {run}, and compiling"):
        model = load_model(run, options.step)
        found = inspect(
            model, options.text, options.alternatives, options.label, options.attention
        )
    title = f"{run}, step {model.step}"
    if page is not None:
        atomic_write(page, inspected_page(found, title))
    if options.json:
        print_json({"run": run, "step": model.step, **as_object(found)})
        return
    display = Display(0)
    display.header(title, rows(found))
    for line in lines(found):
        display.styled(line)
    if page is not None:
        display.message(f"The page is in {near(page)}.")


def _look_at_batch(options: Options, run: Path) -> None:
    """Print the batch that a step was trained on."""
    step = 1 if options.step is None else options.step
    order, tokenizer = _order(options, run, step)
    shape, epoch = order.shape(step - 1), (step - 1) / order.steps_per_epoch
    if options.row is not None and not 0 <= options.row < shape.rows:
        raise UserError(f"--row {options.row}: rows are 0 to {shape.rows - 1}.")
    batch = order.batch(step - 1)
    if options.json:
        chosen = range(shape.rows) if options.row is None else [options.row]
        told = _as_rows(tokenizer, batch, chosen)
        print_json({"step": step, "epoch": epoch, "rows": told})
        return
    which = f"{shape.rows} rows of {shape.length} tokens"
    if len(order.shapes) == 1:
        first = (step - 1) * shape.rows
        which = f"rows {first} to {first + shape.rows - 1} of the order"
    print(f"step {step}: {which}, epoch {epoch:.3f}")
    if options.row is not None:
        _print_row(tokenizer, {k: v[options.row] for k, v in batch.items()})
        return
    for index, text in enumerate(texts(tokenizer, batch)):
        print(f"--- row {index} ---")
        print(text)


def _order(options: Options, run: Path, step: int) -> tuple[Order, Trained]:
    """The order of a run's training, and what its tokens say.

    Raises:
        UserError: it has no such step, or its text is another now.
    """
    experiment: Any = read(run)
    if not experiment.in_steps:
        raise UserError(
            f"{options.run} was fitted by counting its whole training split, "
            "without steps."
        )
    if step < 1:
        raise UserError(f"--step {step}: the first step is 1.")
    log = read_metrics(run / "metrics.jsonl")
    last = max((row["step"] for row in log), default=0)
    if step > last:
        print(
            f"The run is at step {last}; this is what step {step} would see.",
            file=sys.stderr if options.json else None,
        )
    data = experiment.data.prepare(CACHE)
    check_data(data, run)
    order = data.order(experiment.seed_of("order"), experiment.batch)
    return order, data.tokenizer


def _as_rows(tokenizer: Trained, batch: Row, chosen: Iterable[int]) -> list[dict]:
    """Some rows of a batch, for other programs."""
    written = texts(tokenizer, batch)
    return [
        {
            "text": written[k] if written else None,
            "arrays": {name: array[k] for name, array in batch.items()},
        }
        for k in chosen
    ]


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
