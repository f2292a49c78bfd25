"""What a contest does in processes of their own, where a candidate's code may run.

python -m lm_jax.contest.worker freeze ADDRESS CONTEST FOLDER
python -m lm_jax.contest.worker run CONTEST PROPOSAL SEED RUN

A run trains a frozen recipe and has it scored by the contest's own. Status 0: done;
2: a message on standard error says what is wrong; 3: it says what is wrong with the
recipe; 75: stopped and saved.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from lm_jax.contest.freezing import LEDGER, freeze_candidate, frozen, thaw
from lm_jax.contest.ledger import Ledger, Proposal, proposals
from lm_jax.contest.scoring import Unfit, score
from lm_jax.errors import Diverged, UserError
from lm_jax.experiment.loading import own_fault
from lm_jax.files import atomic_write
from lm_jax.platform import configure
from lm_jax.processes import end_with_parent
from lm_jax.runs.checkpoints import has_checkpoint
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.numbers import encoded
from lm_jax.runs.result import read_result
from lm_jax.training.run import train_run
from lm_jax.training.setup import set_up

WRONG, FAILED, STOPPED = 2, 3, os.EX_TEMPFAIL
MEASURED = "measured.json"


def run(contest: Path, proposal: int, seed: int, folder: Path) -> int:
    """Train a frozen recipe with a seed, and leave what was measured in its run.

    Args:
        contest: its folder.
        proposal: whose recipe.
        seed: that the referee drew.
        folder: of the run.

    Raises:
        UserError: it can't be trained or scored, or the contest's text has changed, or
            the code since what competes was proposed.
        Diverged: a number was not finite.
    """
    found = proposals(Ledger(contest / LEDGER).entries())
    _check_code(found[-1])
    recipe = thaw(frozen(contest, proposal), found[proposal].frozen["files"])
    experiment = replace(recipe, seed=seed)
    setup = set_up(experiment, fresh=not has_checkpoint(folder), run=folder)
    if setup.data.digest != found[0].frozen["data"]:
        raise UserError("The contest's text is another now, or is split otherwise.")
    if train_run(experiment, folder, setup, Display(setup.total)).signal is not None:
        return STOPPED
    base = thaw(frozen(contest, 0), found[0].frozen["files"])
    result = read_result(folder)
    rate = result["tokens_per_second"]
    measured = {
        "scores": score(base, folder),
        # Of all steps, at the pace of those after the first: compiling is apart.
        "seconds": result["tokens"] / rate if rate else float("inf"),
        "steps": result["steps"],
        "parameters": result["parameters"],
    }
    atomic_write(folder / MEASURED, json.dumps(encoded(measured)))
    return 0


def _check_code(competes: Proposal) -> None:
    """See that all runs of a proposal are made by one code.

    Raises:
        UserError: it was proposed by another.
    """
    then, now = competes.frozen["code"], own_code()["sources"]
    if then != now:
        raise UserError(
            f"The code of lm_jax has changed since {competes.name} was frozen ({then} "
            f"then, {now} now), and runs by two codes are no pair. Put it back to go "
            "on; proposed again with the new one, it counts once more."
        )


def main(args: list[str]) -> int:
    """Do one thing; a mistake is one message."""
    what, *words = args
    try:
        configure()
        if what == "freeze":
            address, contest, folder = words
            freeze_candidate(address, Path(contest), Path(folder))
            return 0
        end_with_parent()
        contest, proposal, seed, folder = words
        return run(Path(contest), int(proposal), int(seed), Path(folder))
    except (Unfit, Diverged) as error:
        print(error, file=sys.stderr)
        return FAILED
    except UserError as error:
        print(error, file=sys.stderr)
        return WRONG
    except Exception as error:
        fault = own_fault(error)
        if fault is None:
            raise
        print(fault, file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
