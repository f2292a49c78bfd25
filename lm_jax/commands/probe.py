"""Probe a model with minimal pairs of sentences."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.files import given_path
from lm_jax.inspection.formulations import NAMES, Formulation
from lm_jax.inspection.pairs import read_pairs
from lm_jax.inspection.probing import Probed, Share, probe
from lm_jax.runs.directory import find_run
from lm_jax.runs.display import Display
from lm_jax.runs.model import load_model


@dataclass(frozen=True)
class Options:
    """Say how often the right sentence of a pair is the likelier one.

    The file has the columns of BLiMP (sentence_good, sentence_bad), or of CrowS-Pairs
    (sent_more, sent_less), where a model without the bias is at a half. Each kind of
    pair has its share, with a 95% interval (Wilson); equal scores count half.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run: of any model that predicts tokens."""
    file: Annotated[Path, tyro.conf.Positional]
    """The pairs: .jsonl, .csv or .tsv."""
    formulation: Formulation | None = None
    """How sentences are scored. Causal models: "log-likelihood". Masked ones:
    "within-words" (from left to right, if not given), "tokens" (each alone) or "shared"
    (CrowS-Pairs' own: only tokens that both sentences have)."""
    category: str = ""
    """Column that tells of what kind a pair is; the form's own if not given."""
    step: int | None = None
    """Checkpoint to use; the best one if not given."""
    json: bool = False
    """Print {"run", "step", "formulation", "pairs", "share", "low", "high", "ties",
    "unknown", "kinds": [...], "scores": [[GOOD, BAD], ...]}; scores are nats."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "probe", args)
    run, file = find_run(options.run), given_path(options.file, "FILE")
    pairs = read_pairs(file, options.category)
    aside = Display(0, sys.stderr)
    with aside.waiting(f"reading {run}, and compiling"):
        model = load_model(run, options.step)
        found = probe(model, pairs, options.formulation, aside.work)
    if options.json:
        print_json({"run": run, "step": model.step, "file": file, **_object(found)})
        return
    head = f"{len(pairs):,} pairs, each scored"
    whole = f"{run}, step {model.step}, {file.name}"
    rows = [("pairs", head), ("scored by", NAMES[found.formulation])]
    if found.unknown:
        said = "pairs have words that the vocabulary lacks: <unk> is read there"
        rows.append(("unknown", f"{found.unknown:,} {said}"))
    rows += [_row(each) for each in (found.whole, *found.kinds)]
    Display(0).header(whole, rows)


def _row(found: Share) -> tuple[str, str]:
    name = f"{found.column} {found.kind}".strip()
    ties = f", {found.ties:,} ties" if found.ties else ""
    told = (
        f"{found.share:.4f}, {found.low:.4f} to {found.high:.4f} "
        f"({found.pairs:,} pairs{ties})"
    )
    return name, told


def _object(found: Probed) -> dict:
    whole = found.whole._asdict()
    del whole["column"], whole["kind"]
    return {
        "formulation": found.formulation,
        **whole,
        "unknown": found.unknown,
        "kinds": [each._asdict() for each in found.kinds],
        "scores": found.scores,
    }
