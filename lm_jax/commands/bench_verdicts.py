"""Measure how often a sweep finds a difference where there is none."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lm_jax.ablation.plan import Cell
from lm_jax.ablation.study import Study
from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.contest.levels import WHOLE, signed, simulate
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.files import write_json
from lm_jax.models import Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.runs.display import Display
from lm_jax.runs.result import find_scores, read_result
from lm_jax.schedules import WarmupCosine
from lm_jax.statistics.paired import Differences
from lm_jax.statistics.verdicts import BETTER, WORSE, compare
from lm_jax.sweeping.cells import Warm, run_cell
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

PAIRS = (5, 8, 12)
PROPOSALS = 30  # of a loop that is put to the referee
_MODEL = Transformer(layers=2, heads=2, width=48, positions=Rotary())
NULL = Experiment(
    data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=32),
    model=_MODEL,
    objective=NextToken(),
    optimizer=AdamW(weight_decay=0.1),
    schedule=WarmupCosine(peak=5e-3, warmup="20 steps"),
    batch=16,
    budget="200 steps",
    evaluations={"likelihood": Likelihood("200 steps")},
    outputs=(),
)
PLANTED = replace(NULL, model=_MODEL.clone(dropout=0.5))


@dataclass(frozen=True)
class Options:
    """Train a small GPT with many seeds, and compare it with itself.

    Of 1,000 sweeps that are drawn from these runs, two different seeds a pair, nearly
    all should find nothing: how many find a difference is shown beside the level. Then
    a dropout of 0.5, which hurts a model so small, is compared with none. At last as
    many loops of 30 proposals are put to the referee of `contest`, none of them better.
    """

    runs: int = 48
    """Seeds; two for each pair are drawn from them."""
    sweeps: int = 1000
    """Sweeps that are drawn, for each number of pairs."""
    out: Path = Path("runs/verdicts")
    """Folder of the runs; those that have ended are kept."""
    write: Path | None = None
    """Write the losses and rates here as JSON too."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "bench verdicts", args)
    alone = losses("none", NULL, options.runs, options.out)
    planted = losses("planted", PLANTED, max(PAIRS), options.out)
    found = {
        "losses": alone.tolist(),
        "planted": planted.tolist(),
        "rates": [rates(alone, pairs, options.sweeps) for pairs in PAIRS],
        "found": [power(alone, planted, pairs) for pairs in PAIRS],
        "referee": refereed(alone, options.sweeps),
    }
    print(
        f"{options.runs} seeds: {alone.mean():.4f}, deviation {alone.std(ddof=1):.4f}"
    )
    print("  pairs  false verdicts  99% of such counts  dropout 0.5")
    for each, told in zip(found["rates"], found["found"], strict=True):
        low, high = each["usual"]
        print(
            f"  {each['pairs']:5}  {each['false']:5} of {options.sweeps}"
            f"  {low:8} to {high:<8}  {told}"
        )
    low, high = found["referee"]["usual"]
    print(
        f"  {found['referee']['false']} of {options.sweeps} loops of {PROPOSALS} null "
        f"proposals accept one ({low} to {high})"
    )
    if options.write:
        write_json(options.write, found)
    else:
        print_json(found)


def losses(name: str, experiment: Experiment, seeds: int, out: Path) -> np.ndarray:
    """The losses of an experiment's seeds, (seeds,); each is trained once."""
    warm, display, found = Warm(), Display(0), []
    for seed in range(seeds):
        cell = Cell(
            name, seed, out / name / f"seed{seed}", replace(experiment, seed=seed)
        )
        display.work(f"training {name}", seed, seeds)
        if not (cell.run / "result.json").exists():
            run_cell(cell, Display(0, io.StringIO()), warm)
        found.append(find_scores(read_result(cell.run), "validation", "end")["loss"])
    display.work(f"training {name}", seeds, seeds)
    return np.array(found)


def rates(alone: np.ndarray, pairs: int, sweeps: int) -> dict:
    """How many sweeps find a difference where there is none.

    Args:
        alone: losses of one recipe, (seeds,).
        pairs: of each sweep; no seed comes twice in one.
        sweeps: to draw.

    Returns:
        "pairs", "false", and "usual": between which counts 99 of 100 would lie if
        verdicts were false as often as the study's level says.
    """
    from scipy import stats

    random, study = np.random.default_rng(pairs), Study(seeds=pairs)
    false = 0
    for _ in range(sweeps):
        drawn = random.permutation(alone)[: 2 * pairs].reshape(2, pairs)
        false += verdict(drawn[0] - drawn[1], study) in (BETTER, WORSE)
    usual = stats.binom.interval(0.99, sweeps, study.level)
    return {"pairs": pairs, "false": false, "usual": [int(end) for end in usual]}


def refereed(alone: np.ndarray, loops: int) -> dict:
    """How many loops accept a proposal where none is better; see `rates`."""
    from scipy import stats

    half = len(alone) // 2
    differences = alone[:half] - alone[half : 2 * half]
    accepted = simulate(loops, PROPOSALS, signed(differences.tolist()))
    usual = stats.binom.interval(0.99, loops, WHOLE)
    false = int(accepted.any(axis=1).sum())
    return {"false": false, "usual": [int(end) for end in usual]}


def power(alone: np.ndarray, planted: np.ndarray, pairs: int) -> str:
    """The verdict on what was planted, seed by seed."""
    return verdict(planted[:pairs] - alone[:pairs], Study(seeds=pairs))


def verdict(differences: Differences, study: Study) -> str:
    """Judge one variant; a smaller loss is better."""
    (found,) = compare(differences[None], study, larger_is_better=False)
    return found.verdict
