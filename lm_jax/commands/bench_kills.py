"""Kill trainings at random moments, and see that they come out the same."""

import platform
import random
import shutil
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax

from lm_jax.bench.kills import Failed, Family
from lm_jax.bench.phases import PHASES
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import write_json
from lm_jax.runs.display import Display

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
Name = Literal["decoder", "lstm", "skipgram", "ngram"]


@dataclass(frozen=True)
class Options:
    """Kill trainings (kill -9) at random moments until they end all the same.

    A small training of each family runs to its end, twice. Then others like it are
    killed, each after a time that is uniform over the whole duration, and started
    again with nothing else done, until they end. Every logged value, every sample,
    the result and the final parameters are compared with the first, bit for bit.
    200 kills take about half an hour on two cores that do nothing else.
    """

    kills: int = 200
    """In all, the same number for each family."""
    seed: int = 0
    """Another seed kills at other moments."""
    jobs: int = 1
    """Families at a time."""
    families: tuple[Name, ...] = ("decoder", "lstm", "skipgram", "ngram")
    """Which are trained."""
    write: bool = False
    """Write experiments/results/bench_kills.json."""


def main(args: list[str]) -> int:
    """Run the command: 0 if all came out the same, otherwise 1.

    Raises:
        UserError: for options that can't be met.
    """
    options = read_options(Options, "bench kills", args)
    count = len(options.families)
    if not count or options.kills < count or options.kills % count:
        raise UserError(f"--kills must be {count}, or a multiple of it: one a family.")
    if options.jobs < 1:
        raise UserError("--jobs must be 1 or more.")
    if options.write and not RESULTS.is_dir():
        raise UserError(f"--write: there is no {RESULTS}. It is part of a checkout.")
    folder = Path(tempfile.mkdtemp(prefix="lm_jax_kills_"))
    families = [Family(name, folder / name) for name in options.families]
    failures = _kill(families, options)
    for line in report(families):
        print(line)
    print("\n".join(failures))
    if options.write:
        write_json(RESULTS / "bench_kills.json", record(families, options, failures))
    if failures or any(trial.differences for f in families for trial in f.trials):
        print(f"The runs are kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _kill(families: list[Family], options: Options) -> list[str]:
    """Let each family be measured and killed; give what failed, in words."""
    display, lock, done = Display(0), threading.Lock(), 0
    each = options.kills // len(families)

    def work(family: Family) -> str:
        nonlocal done
        try:
            family.measure()
            for _ in family.kill(each, random.Random(f"{options.seed} {family.name}")):
                with lock:
                    done += 1
                    display.work("killing", done, options.kills)
        except Failed as failure:
            return str(failure)
        return ""

    display.work("killing", 0, options.kills)
    with ThreadPoolExecutor(options.jobs) as pool:
        failures = [failure for failure in pool.map(work, families) if failure]
    display.close()
    return failures


def report(families: list[Family]) -> list[str]:
    """A table of at most 80 columns: where the kills fell, and what differed."""
    head = f"{'family':10}{'runs':>5}{'kills':>7}"
    head += "".join(f"{phase:>{len(phase) + 2}}" for phase in PHASES) + "  unlike"
    rows = [head]
    for family in families:
        fell = Counter(kill.phase for trial in family.trials for kill in trial.kills)
        row = f"{family.name:10}{len(family.trials):>5}{fell.total():>7}"
        row += "".join(f"{fell[phase]:>{len(phase) + 2}}" for phase in PHASES)
        unlike = sum(bool(trial.differences) for trial in family.trials)
        rows.append(f"{row}{unlike:>8}")
    compared = sum(trial.compared for f in families for trial in f.trials)
    differ = [
        f"{family.name}, run {number}: {words}"
        for family in families
        for number, trial in enumerate(family.trials)
        for words in trial.differences
    ]
    rows += ["", f"{compared:,} values were compared, {len(differ)} differ."]
    return rows + differ[:20]


def record(families: list[Family], options: Options, failures: list[str]) -> dict:
    """All that came out, for JSON."""
    return {
        "seed": options.seed,
        "jobs": options.jobs,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "failures": failures,
        "families": {
            family.name: {
                "seconds": {
                    "cold" if cold else "warm": round(seconds, 2)
                    for cold, seconds in family.seconds.items()
                },
                "runs": [asdict(trial) for trial in family.trials],
            }
            for family in families
        },
    }
