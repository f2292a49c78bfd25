"""The referee: what is proposed competes with the standing best, seed by seed."""

import math
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lm_jax.contest import launching
from lm_jax.contest.freezing import LEDGER, frozen, place, read_facts
from lm_jax.contest.launching import Failed, Job, Stopped
from lm_jax.contest.ledger import Ledger, Proposal, proposals, standing_best, walls
from lm_jax.contest.levels import decide, level, pairs_of
from lm_jax.errors import UserError
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.figures import duration

CANDIDATE, BEST = "candidate", "best"
Launch = Callable[[Job, Callable[[int], None], Callable[[], bool]], dict[str, Any]]


class Price(NamedTuple):
    """What a proposal costs at most.

    Attributes:
        proposal: its number.
        level: how often it may be accepted where it is no better.
        pairs: of runs, with the same seeds.
        seconds: of all runs, as long as those before took; None before there were.
    """

    proposal: int
    level: float
    pairs: int
    seconds: float | None

    def told(self) -> str:
        """For people."""
        time = "no run has been timed yet"
        if self.seconds is not None:
            time = f"about {duration(self.seconds)}"
        return (
            f"level {self.level:.2g}, {self.pairs} pairs: at most {2 * self.pairs} "
            f"runs, {time}"
        )


def price(found: list[Proposal]) -> Price:
    """What the next proposal costs, or the rest of the one that is open."""
    last = found[-1]
    number = len(found) if last.accepted is not None else last.number
    pairs, times = pairs_of(number), list(walls(found))
    left = 2 * pairs - (len(last.runs) if number == last.number else 0)
    seconds = left * sum(times) / len(times) if times else None
    return Price(number, level(number), pairs, seconds)


def propose(
    address: str,
    folder: Path,
    display: Display,
    launch: Launch,
    stopped: Callable[[], bool] = lambda: False,
) -> Proposal:
    """Let a candidate compete with the standing best.

    Its code is frozen and named in the ledger before the seeds are drawn. What was
    broken off goes on; another candidate than the open one gives that up.

    Args:
        address: FILE.py or FILE.py:VARIANT.
        folder: of a contest that is open, held by this process.
        display: what a person sees.
        launch: carries out a run.
        stopped: whether to stop and save.

    Returns:
        The proposal, accepted or not.

    Raises:
        UserError: it may not compete, or a run can't be made. It is not counted, or
            stays open.
        Stopped: it was to stop; it stays open.
    """
    ledger, given = Ledger(folder / LEDGER), folder / "given"
    with display.waiting(f"freezing {address}"):
        launching.freeze(address, folder, given)
    if stopped():
        raise Stopped  # before it is counted
    facts = read_facts(given) | {"code": own_code()["sources"]}
    best = standing_best(proposals(ledger.entries()))
    if facts["digest"] == best.frozen["digest"]:
        raise UserError(
            f"{address} is the same as the standing best ({best.name}): no field of "
            "the recipe differs. Seeds are drawn by the referee, and execution and "
            "notes decide no number. It was not counted."
        )
    proposal = _numbered(address, facts, best, ledger, folder, display)
    if not proposal.seeds:
        seeds = [secrets.randbelow(2**32) for _ in range(pairs_of(proposal.number))]
        ledger.append("seeds", proposal=proposal.number, seeds=seeds)
    found = proposals(ledger.entries())
    display.message(f"Proposal {proposal.number}: {price(found).told()}.")
    decided = _play(Table(folder, found, ledger, display, launch, stopped))
    ledger.append("decided", proposal=proposal.number, **decided._asdict())
    return proposals(ledger.entries())[-1]


def _numbered(
    address: str,
    facts: dict[str, Any],
    best: Proposal,
    ledger: Ledger,
    folder: Path,
    display: Display,
) -> Proposal:
    """The open proposal if it is this one, or the next: counted from here on."""
    found = proposals(ledger.entries())
    last = found[-1]
    if last.accepted is None:
        if all(last.frozen[name] == facts[name] for name in ("digest", "code")):
            display.message(f"Going on with proposal {last.number}.")
            return last
        why = "given up for another candidate"
        ledger.append("decided", proposal=last.number, accepted=False, why=why)
        display.message(
            f"Proposal {last.number}, {last.frozen['candidate']}, was open: it is "
            "given up, and counts. (Its code differs, or that of lm_jax does.)"
        )
    number = len(found)
    shutil.rmtree(place(folder, number), ignore_errors=True)  # no entry names it
    place(folder, number).mkdir()
    os.replace(folder / "given", frozen(folder, number))
    ledger.append(
        "frozen",
        proposal=number,
        candidate=address,
        **facts,
        best=best.number,
        level=level(number),
        pairs=pairs_of(number),
    )
    return proposals(ledger.entries())[-1]


@dataclass(frozen=True)
class Table:
    """What a proposal is played on.

    Attributes:
        folder: of the contest.
        found: all proposals; the last is played.
        ledger: that each run is written to.
        display: what a person sees.
        launch: carries out a run.
        stopped: whether to stop and save.
    """

    folder: Path
    found: list[Proposal]
    ledger: Ledger
    display: Display
    launch: Launch
    stopped: Callable[[], bool]

    @property
    def proposal(self) -> Proposal:
        """That is played."""
        return self.found[-1]

    def run(self, pair: int, side: str) -> dict[str, Any]:
        """What was measured of a run; it is carried out if it wasn't.

        Raises:
            Failed, Stopped, UserError: as `launch`.
        """
        proposal, seed = self.proposal, self.proposal.seeds[pair]
        run = place(self.folder, proposal.number) / side / f"seed{seed}"
        if (pair, side) not in proposal.runs:
            number = proposal.number if side == CANDIDATE else proposal.frozen["best"]
            anew = self.found[0].frozen["contest"]["reach"] is not None
            job = Job(self.folder, number, seed, run, anew)
            steps = self.found[number].frozen["steps"]
            words = f"pair {pair + 1} of {len(proposal.seeds)}, {side}"
            measured = self.launch(
                job,
                lambda step: self.display.work(words, min(step, steps - 1), steps),
                self.stopped,
            )
            self.display.work(words, steps, steps)
            facts = {"pair": pair, "side": side, "seed": seed, **measured}
            self.ledger.append("run", proposal=proposal.number, **facts)
            proposal.runs[pair, side] = facts
        launching.forget_checkpoints(run)
        return proposal.runs[pair, side]


class Decided(NamedTuple):
    """How a proposal ended.

    Attributes:
        accepted: or not.
        why: for the ledger.
        failed: what is told of a run that came to nothing.
    """

    accepted: bool
    why: str
    failed: str | None = None


def _play(table: Table) -> Decided:
    """Run pair after pair until it is decided.

    The candidate and the best take turns at going first, so that a machine that slows
    down or warms up favours neither.

    Raises:
        UserError, Stopped: as `propose`.
    """
    own, pairs = table.found[0].frozen, len(table.proposal.seeds)
    gains: list[float] = []
    for pair in range(pairs):
        runs: dict[str, dict[str, Any]] = {}
        for side in (CANDIDATE, BEST) if pair % 2 == 0 else (BEST, CANDIDATE):
            try:
                runs[side] = table.run(pair, side)
            except Failed as error:
                if side == CANDIDATE:
                    return Decided(
                        False, f"pair {pair + 1}", f"Its run failed: {error}"
                    )
                raise UserError(
                    f"The standing best could not be run again ({error}): nothing is "
                    "decided, and the same command goes on."
                ) from error
            if side == CANDIDATE and not _reached(runs[side], own):
                return Decided(False, f"pair {pair + 1} came to nothing")
        gains.append(gain(runs[CANDIDATE], runs[BEST], own))
        accepted = decide(gains, pairs)
        if accepted is not None:
            return Decided(accepted, f"pair {pair + 1} of {pairs} decided")
    raise AssertionError("the last pair decides")


def _score(run: dict[str, Any], own: dict[str, Any]) -> float:
    """The measure of the validation split; the larger the better."""
    value = float(run["scores"]["validation"][own["measure"]])
    return value if own["larger_is_better"] else -value


def _reached(run: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether a run came to something: its score is finite, and good enough."""
    reach, score = own["contest"]["reach"], _score(run, own)
    if reach is not None:
        return score >= (reach if own["larger_is_better"] else -reach)
    return math.isfinite(score)


def gain(candidate: dict[str, Any], best: dict[str, Any], own: dict[str, Any]) -> float:
    """By how much a candidate was better in a pair.

    Where a score is to be reached it is the seconds saved. A run of the best that
    ended short of it counts as if it had reached it: that favours the best.

    Args:
        candidate, best: what was measured of both runs.
        own: the contest's own entry of the ledger.
    """
    if not _reached(candidate, own):
        return -math.inf
    if own["contest"]["reach"] is not None:
        return float(best["seconds"]) - float(candidate["seconds"])
    if not math.isfinite(_score(best, own)):
        return math.inf
    return _score(candidate, own) - _score(best, own)
