"""Measure how often the intervals of a fitted law hold what was planted."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import write_json
from lm_jax.laws.bootstrap import LEVEL, Bootstrap, bootstrap
from lm_jax.laws.law import Law, fit
from lm_jax.runs.display import Display

# As Besiroglu et al. (2024) fitted the published runs, and of the size of small
# models of characters.
PLANTED = {
    "large": Law(E=1.82, A=482.0, alpha=0.3478, B=2085.4, beta=0.3658),
    "small": Law(E=1.2, A=30.0, alpha=0.4, B=80.0, beta=0.4),
}
SIZES = {
    "large": ((44e6, 175e6, 700e6, 2.8e9), (1e9, 4e9, 16e9, 64e9)),
    "small": ((5e4, 2e5, 6e5, 2e6), (125e3, 250e3, 500e3, 1e6)),
}
FARTHER = 4.0  # the run that is predicted has so many times the parameters and tokens


@dataclass(frozen=True)
class Options:
    """Plant laws, draw ladders of 16 runs from them, fit, and count.

    A 90% interval should hold what was planted 90 times of 100: each number of the
    law, and the loss of a new run, four times as large in parameters and tokens. Some
    ladders are refused since they don't tell the law's parts apart: they are counted.
    """

    ladders: int = within("[1, 100000]", 100)
    """Ladders of each law."""
    noise: float = within("(0, 1)", 0.004)
    """Relative deviation of a run's loss: 0.004 is that of seeds of small models."""
    seed: int = within("[0, inf)", 1)
    """Of the noise."""
    write: Path | None = None
    """Write the counts here as JSON too."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "bench laws", args)
    check(options, "bench laws")
    display = Display(0)
    found = {}
    for name in PLANTED:
        found[name] = counted(name, options, display)
        print(f"{name}: {found[name]['refused']} of {options.ladders} refused; held")
        for what, share in found[name]["held"].items():
            print(f"  {what:22} {share:5.0%}  (said: {LEVEL:.0%})")
    if options.write is not None:
        about = asdict(options) | {"write": None}
        write_json(options.write, {"options": about, "found": found})


def counted(name: str, options: Options, display: Display) -> dict:
    """How often intervals held what was planted, as shares of the ladders fitted.

    Args:
        name: of the planted law.
        options: how many ladders, and their noise.
        display: what a person sees.
    """
    held: dict[str, list[bool]] = {}
    refused = 0
    for ladder in range(options.ladders):
        display.work(f"ladders of {name}", ladder, options.ladders)
        random = np.random.default_rng([options.seed, ladder, len(name)])
        try:
            made = _fitted(name, options.noise, random)
        except UserError:
            refused += 1
            continue
        for what, right in _held(name, made, options.noise, random).items():
            held.setdefault(what, []).append(right)
    display.close()
    shares = {what: float(np.mean(each)) for what, each in held.items()}
    return {"refused": refused, "held": shares}


def _fitted(name: str, noise: float, random: np.random.Generator) -> Bootstrap:
    """A law fitted to a ladder that was drawn.

    Raises:
        UserError: the ladder tells no law.
    """
    sizes, tokens = (np.array(each) for each in SIZES[name])
    n, d = np.repeat(sizes, len(tokens)), np.tile(tokens, len(sizes))
    losses = PLANTED[name].loss(n, d) * (1 + noise * random.standard_normal(len(n)))
    return bootstrap(fit(n, d, losses), n, d, losses)


def _held(
    name: str, made: Bootstrap, noise: float, random: np.random.Generator
) -> dict[str, bool]:
    """Which intervals hold what was planted, and a new run's loss."""
    planted = PLANTED[name]
    found = {}
    for what, value in asdict(planted).items():
        low, high = made.of(what)
        found[what] = low <= value <= high
    n, d = (FARTHER * each[-1] for each in SIZES[name])
    loss = planted.loss(n, d) * (1 + noise * random.standard_normal())
    low, high = made.loss(n, d)
    return found | {"loss of a larger run": low <= loss <= high}
