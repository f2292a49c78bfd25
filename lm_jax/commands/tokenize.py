"""Make the tokens of an experiment's text, on one machine or on several."""

import shlex
from pathlib import Path
from typing import Any

from lm_jax.commands.asked import resolve, taken
from lm_jax.data.shards import Share, Shared, encoding_share
from lm_jax.errors import UserError
from lm_jax.platform import called
from lm_jax.runs.display import Display
from lm_jax.scaling.needs import Needs, Tasks
from lm_jax.scaling.slurm import slurm_array, submit
from lm_jax.training.setup import CACHE

USAGE = """\
usage: ./launch.sh tokenize FILE[:VARIANT] [--shares N [--share K | --on slurm]]
                            [--FIELD VALUE ...]

Makes the tokens of an experiment's text, as `train` does before its first step,
in a process for each core. With --share, this machine encodes the chunks of one
of N shares, from 0, into the cache, which all must see; what it has encoded
stays when it is killed. Without it, the tokens are made of the chunks that are
there, and those that are lacking are encoded.

  ./launch.sh tokenize experiments/gpt_shakespeare.py
  ./launch.sh tokenize experiments/gpt_shakespeare.py --shares 4 --share 0

  --on slurm    submit the shares as tasks of an array; with
                --slurm "partition=cpu time=12:00:00"
  --dry-run     print what would be submitted, and submit nothing"""


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    machines, args = taken("--on", args, "slurm")
    if machines is not None:
        return _send(machines, args)
    shares, args = taken("--shares", args, "a number")
    number, args = taken("--share", args, "a number")
    share = None if shares is None and number is None else Share.read(number, shares)
    data, display = resolve(args, "tokenize").named.experiment.data, Display(0)
    if share is None:
        said = data.prepare(CACHE, display.work).statement
    else:
        said = _share(data, share, display, args)
    display.close()
    display.message(said)
    return 0


def _share(data: Any, share: Share, display: Display, args: list[str]) -> str:
    """Encode a share; gives what to say of it."""
    try:
        with encoding_share(share):
            data.prepare(CACHE, display.work)
    except Shared:
        rest = f"{called()} tokenize {shlex.join(args)}"
        return f"Share {share.number} of {share.of} is encoded. When all are:\n  {rest}"
    return "The tokens are there already."


def _send(machines: str, args: list[str]) -> int:
    """Submit all shares, or print what would be."""
    if machines != "slurm":
        raise UserError(f"--on {machines}: shares are submitted to slurm alone.")
    dry, args = "--dry-run" in args, [arg for arg in args if arg != "--dry-run"]
    slurm, args = taken("--slurm", args, "options of sbatch")
    shares, args = taken("--shares", args, "a number")
    many = Share.read("0", shares).of
    name = f"tokenize-{resolve(args, 'tokenize').named.name}"
    words = ["-m", "lm_jax", "tokenize", *args, "--shares", str(many), "--share"]
    tasks = Tasks(name, words, range(many), Path(f"{name}_%a.log"))
    text = slurm_array(tasks, Needs(slurm=slurm or ""))
    if dry:
        print(text, end="")
        return 0
    print(f"SLURM has {many} shares as job {submit(text)}. When they have ended:")
    print(f"  {called()} tokenize {shlex.join(args)}")
    return 0
