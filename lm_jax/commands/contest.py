"""A referee for proposals that compete with the standing best, one by one."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.commands.as_json import print_json
from lm_jax.commands.options import read_options
from lm_jax.contest.launching import Stopped, launch
from lm_jax.contest.ledger import Proposal, standing_best
from lm_jax.contest.opening import open_contest
from lm_jax.contest.referee import price, propose
from lm_jax.experiment.loading import load_file
from lm_jax.files import given_path
from lm_jax.platform import called
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from lm_jax.training.guards import Interrupt


@dataclass(frozen=True)
class Options:
    """Referee proposals that compete with the standing best, one by one.

    FILE is an experiment file. Its `experiment` is the first standing best, and its
    `contest`, a Contest of lm_jax.contest, says what is competed for: with
    Contest(measure="bits_per_byte") the experiment's budget is spent, and the score
    at the end decides; with Contest(reach=1.9) a score is to be reached, and seconds
    of training steps decide.

    CANDIDATE is frozen first; then the referee draws seeds, and the candidate and the
    best run on them by turns. It is accepted where it wins every pair: their number
    is said before, grows with the proposals, and lets a whole loop of them accept
    anything that isn't better once in a hundred at most, however many there are. The
    first pair that it doesn't win ends it.

    You are told whether it is accepted (status 0) or not (1); 2 is bad input, which
    isn't counted; 130 is stopped and saved. ledger.jsonl in the folder keeps all
    numbers, those of the test split too: who proposes should not read it. Stopped in
    any way, the same command goes on with the same proposal.

    Without CANDIDATE it says how the contest stands. With --json one object stands on
    standard output: "proposal", "accepted", "failed" (why its run came to nothing, or
    null); without CANDIDATE "best" ("proposal", "candidate"), "proposals",
    "accepted", "next" ("proposal", "level", "pairs", "runs", "seconds" or null).
    """

    file: Annotated[str, tyro.conf.Positional]
    """Experiment file with a contest."""
    candidate: Annotated[str, tyro.conf.Positional] = ""
    """Experiment file or FILE.py:VARIANT that is proposed."""
    out: Path | None = None
    """Folder of the contest; runs/<file>-contest if not given."""
    json: bool = False
    """Print one JSON object; all else goes to standard error."""


def main(args: list[str]) -> int:
    """Run the command; 0 is accepted, 1 is not."""
    options = read_options(Options, "contest", args)
    file = load_file(options.file)
    folder = Path("runs") / f"{file.path.stem}-contest"
    if options.out is not None:
        folder = given_path(options.out, "--out")
    display = Display(0, sys.stderr if options.json else None)
    with open_run(folder, "contest"), Interrupt() as interrupt:
        found = open_contest(file, folder, display)
        if not options.candidate:
            _stand(found, folder, options.json, display)
            return 0
        try:
            proposal = propose(
                options.candidate,
                folder,
                display,
                launch,
                lambda: interrupt.received is not None,
            )
        except Stopped:
            display.message("Stopped and saved. To go on:")
            display.message(f"  {called()} contest {shlex.join(args)}")
            return 130
        finally:
            display.close()
    return _verdict(proposal, options.json, display)


def _verdict(proposal: Proposal, as_json: bool, display: Display) -> int:
    """Say whether a proposal was accepted, and no number."""
    accepted = bool(proposal.accepted)
    if as_json:
        told = {"proposal": proposal.number, "accepted": accepted}
        print_json(told | {"failed": proposal.failed})
    else:
        if proposal.failed:
            display.message(proposal.failed)
        display.message("accepted" if accepted else "not accepted")
    return 0 if accepted else 1


def _stand(
    found: list[Proposal], folder: Path, as_json: bool, display: Display
) -> None:
    """Say how a contest stands."""
    best, cost = standing_best(found), price(found)
    many, accepted = len(found) - 1, sum(bool(each.accepted) for each in found[1:])
    if as_json:
        coming = {**cost._asdict(), "runs": 2 * cost.pairs}
        standing = {"proposal": best.number, "candidate": best.frozen["candidate"]}
        told = {"best": standing, "proposals": many, "accepted": accepted}
        print_json(told | {"next": coming})
        return
    own = found[0].frozen
    measure, reach = own["measure"].replace("_", " "), own["contest"]["reach"]
    aim = f"validation {measure} after its budget"
    if reach is not None:
        aim = f"seconds of training steps to a validation {measure} of {reach:g}"
    display.header(
        str(folder),
        [
            ("measured", aim),
            ("fixed", ", ".join(own["fixed"])),
            ("third split", "test" if own["test"] else "none: the corpus has no test"),
            ("standing best", best.name),
            ("proposals", f"{many}, {accepted} accepted"),
            (f"proposal {cost.proposal}", cost.told()),
        ],
    )
