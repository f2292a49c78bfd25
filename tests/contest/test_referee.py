"""The referee counts, freezes, draws, plays by turns, and tells one word."""

import json
from collections import Counter
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.commands import contest
from lm_jax.contest import freezing, launching, opening
from lm_jax.contest.freezing import freeze_candidate
from lm_jax.contest.launching import Failed, Stopped
from lm_jax.contest.ledger import Ledger, proposals, standing_best
from lm_jax.contest.referee import gain, price, propose
from lm_jax.errors import UserError
from lm_jax.experiment.loading import load_file
from lm_jax.runs.directory import open_run
from lm_jax.runs.display import Display
from tests.tiny import EXPERIMENT, write_tiny

FOLDER = Path("runs/tiny-contest")
CONTEST = """
from lm_jax.contest import Contest
contest = Contest({})
variants = {{
    "fast": replace(experiment, schedule=replace(experiment.schedule, peak=2e-2)),
    "slow": replace(experiment, schedule=replace(experiment.schedule, peak=1e-4)),
    "same": replace(experiment, seed=5, outputs=()),
    "long": replace(experiment, budget="13 steps"),
}}
"""
SET_UP = {}
FREEZE = launching.freeze


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """A contest whose candidates are frozen in this process, and resolved once."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    write("")
    real = freezing.set_up

    def once(experiment):
        if experiment not in SET_UP:
            SET_UP[experiment] = real(experiment)
        return SET_UP[experiment]

    monkeypatch.setattr(freezing, "set_up", once)
    monkeypatch.setattr(launching, "freeze", freeze_candidate)


def write(contest, file="tiny.py"):
    Path(file).write_text(EXPERIMENT + CONTEST.format(contest))


def opened():
    FOLDER.mkdir(parents=True, exist_ok=True)
    return opening.open_contest(load_file("tiny.py"), FOLDER, Display(0))


def entries():
    return Ledger(FOLDER / "ledger.jsonl").entries()


class Stub:
    """Gives losses that a run of each recipe would end with; keeps what it ran."""

    def __init__(self, losses, **fails):
        self.losses, self.fails, self.jobs = losses, fails, []

    def __call__(self, job, told, stopped):
        self.jobs.append(job)
        if fails := self.fails.get(f"run{len(self.jobs)}"):
            raise fails
        found = proposals(entries())[job.proposal].frozen
        loss = self.losses[found["candidate"].rpartition(":")[2]]
        loss = loss.pop(0) if isinstance(loss, list) else loss
        scores = {"validation": {"loss": loss}, "test": {"loss": 9.0}}
        return {"scores": scores, "seconds": 1.0, "wall": 2.0, "steps": 12}


def play(name, stub):
    opened()
    return propose(f"tiny.py:{name}", FOLDER, Display(0), stub)


def test_who_wins_every_pair_is_the_new_best():
    stub = Stub({"tiny.py": 2.0, "fast": 1.9, "slow": 1.95})
    assert play("fast", stub).accepted
    sides = [job.run.parent.name for job in stub.jobs]
    assert sides == ["candidate", "best", "best", "candidate"] * 4
    seeds = [job.seed for job in stub.jobs]
    assert all(a == b for a, b in zip(seeds[::2], seeds[1::2], strict=True))
    assert len(set(seeds)) == 8
    events = [entry["event"] for entry in entries()]
    assert events == ["frozen", "frozen", "seeds", *["run"] * 16, "decided"]
    found = proposals(entries())
    assert standing_best(found).number == 1
    coming = price(found)
    assert (coming.proposal, coming.pairs) == (2, 10)
    assert coming.seconds == pytest.approx(20 * 2.0)
    # The next is measured against it, and loses the first pair.
    again = Stub({"fast": 1.9, "slow": 1.95})
    assert play("slow", again).accepted is False
    assert [job.proposal for job in again.jobs] == [2, 1]


def test_the_first_pair_that_is_not_won_ends_it():
    stub = Stub({"tiny.py": 2.0, "fast": [1.9, 1.9, 2.0, 1.9]})
    assert play("fast", stub).accepted is False
    assert len(stub.jobs) == 6
    assert "pair 3 of 8" in entries()[-1]["why"]


def test_who_is_told_to_stop_while_it_freezes_counts_nothing():
    opened()
    before = entries()
    with pytest.raises(Stopped):
        propose("tiny.py:fast", FOLDER, Display(0), Stub({}), lambda: True)
    assert entries() == before


def test_the_keys_of_a_terminal_dont_reach_what_a_contest_runs(monkeypatch):
    """Ctrl-C would break a process off, and be told as a fault of the candidate."""
    words = []

    def start(module, given, *, stderr, apart):
        words.append((given[0], apart))
        raise UserError("enough")

    monkeypatch.setattr(launching, "start", start)
    job = launching.Job(FOLDER, 1, 0, FOLDER / "proposal1/candidate/seed0", False)
    with pytest.raises(UserError, match="enough"):
        launching.launch(job, print, lambda: False)
    with pytest.raises(UserError, match="enough"):
        FREEZE("tiny.py", FOLDER, FOLDER / "given")
    assert words == [("run", True), ("freeze", True)]


def test_what_was_broken_off_goes_on_and_counts_once():
    stub = Stub({"tiny.py": 2.0, "fast": 1.9}, run6=Stopped())
    with pytest.raises(Stopped):
        play("fast", stub)
    before = entries()
    rest = Stub({"tiny.py": 2.0, "fast": 1.9})
    assert play("fast", rest).accepted
    assert entries()[: len(before)] == before
    assert rest.jobs[0] == stub.jobs[-1] and len(stub.jobs) + len(rest.jobs) == 17
    assert Counter(e["event"] for e in entries())["frozen"] == 2


def test_another_candidate_gives_up_the_open_one_which_counts():
    with pytest.raises(Stopped):
        play("fast", Stub({"tiny.py": 2.0, "fast": 1.9}, run2=Stopped()))
    proposal = play("slow", Stub({"tiny.py": 2.0, "slow": 2.5}))
    assert (proposal.number, proposal.accepted) == (2, False)
    assert [each.accepted for each in proposals(entries())] == [True, False, False]


def test_a_candidate_that_crashes_is_not_accepted_and_told_why():
    stub = Stub({"tiny.py": 2.0, "fast": 1.9}, run1=Failed("signal 11"))
    proposal = play("fast", stub)
    assert not proposal.accepted and proposal.failed == "Its run failed: signal 11"


def test_a_best_that_crashes_decides_nothing():
    stub = Stub({"tiny.py": 2.0, "fast": 1.9}, run2=Failed("no memory"))
    with pytest.raises(UserError, match="nothing is decided"):
        play("fast", stub)
    assert proposals(entries())[-1].accepted is None


def test_a_loss_that_is_not_finite_has_lost():
    assert not play("fast", Stub({"tiny.py": 2.0, "fast": float("nan")})).accepted


@pytest.mark.parametrize(
    "name, told",
    [
        ("same", "is the same as the standing best"),
        ("long", "budget: '12 steps' in the contest, '13 steps' in the candidate"),
        ("fats", "Did you mean 'fast'?"),
    ],
)
def test_what_may_not_compete_is_not_counted(name, told):
    stub = Stub({})
    with pytest.raises(UserError) as error:
        play(name, stub)
    assert told in str(error.value)
    assert len(entries()) == 1 and not stub.jobs


def test_the_models_of_a_contest_have_no_more_parameters_than_it_allows():
    write("parameters=10")
    with pytest.raises(UserError, match="contest.parameters is 10"):
        opened()
    assert not entries()


def test_a_frozen_recipe_that_was_changed_is_named():
    with pytest.raises(Stopped):
        play("fast", Stub({"tiny.py": 2.0, "fast": 1.9}, run1=Stopped()))
    path = FOLDER / "proposal1" / "frozen" / "recipe.json"
    path.write_text(path.read_text().replace("0.02", "0.03"))
    files = proposals(entries())[1].frozen["files"]
    with pytest.raises(UserError, match="is not what was frozen"):
        freezing.thaw(path.parent, files)


def test_code_that_imports_code_beside_it_is_refused(tmp_path, monkeypatch):
    Path("beside_it.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = "from dataclasses import dataclass\nimport beside_it\n"
    own += "@dataclass(frozen=True)\nclass Mine(AdamW):\n    pass\n"
    own += "experiment = replace(experiment, optimizer=Mine())\n"
    Path("mine.py").write_text(EXPERIMENT + own)
    opened()
    with pytest.raises(UserError, match="put all that they need into the one file"):
        freeze_candidate("mine.py", FOLDER, FOLDER / "given")


def test_seconds_decide_where_something_is_to_be_reached():
    own = {"contest": {"reach": 2.0}, "measure": "loss", "larger_is_better": False}

    def run(loss, seconds):
        return {"scores": {"validation": {"loss": loss}}, "seconds": seconds}

    assert gain(run(2.0, 5.0), run(1.5, 6.0), own) == 1.0
    assert gain(run(1.5, 7.0), run(2.0, 6.0), own) == -1.0
    assert gain(run(2.1, 1.0), run(2.0, 6.0), own) == -float("inf")
    # A best that fell short counts as if it hadn't.
    assert gain(run(1.9, 7.0), run(2.1, 6.0), own) == -1.0


def test_more_of_an_accuracy_is_better():
    own = {"contest": {"reach": None}, "measure": "accuracy", "larger_is_better": True}
    a, b = ({"scores": {"validation": {"accuracy": x}}} for x in (0.5, 0.25))
    assert gain(a, b, own) == 0.25


def test_how_it_stands_is_said_and_no_score(capsys, monkeypatch):
    stub = Stub({"tiny.py": 2.125, "fast": 1.875})
    monkeypatch.setattr(contest, "launch", stub)
    assert main(["contest", "tiny.py", "tiny.py:fast"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("accepted\n") and "8 pairs: at most 16 runs" in said
    assert main(["contest", "tiny.py"]) == 0
    said += capsys.readouterr().out
    assert "1, 1 accepted" in said and "proposal 1, tiny.py:fast" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "2.125" not in said and "1.875" not in said
    assert main(["contest", "tiny.py", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] == {"proposal": 1, "candidate": "tiny.py:fast"}
    assert found["next"]["pairs"] == 10 and found["next"]["seconds"] == 40.0


@pytest.mark.parametrize(
    "change, told",
    [
        ("write('reach=1.0')", "asks for another"),
        ("write('measure=\"los\"', 'other.py')", "Did you mean 'loss'?"),
        ("Path('other.py').write_text(EXPERIMENT)", "defines no 'contest"),
    ],
)
def test_bad_input_is_one_message(change, told, capsys):
    opened()
    exec(change)
    file = "other.py" if Path("other.py").exists() else "tiny.py"
    assert main(["contest", file]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_two_referees_of_one_folder_are_one_too_many(capsys):
    with open_run(FOLDER, "contest"):
        assert main(["contest", "tiny.py"]) == 2
    assert "The contest runs/tiny-contest is in use" in " ".join(
        capsys.readouterr().err.split()
    )
