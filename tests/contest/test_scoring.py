"""The referee scores what was trained by its own text, bytes and objective."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.contest import launching, worker
from lm_jax.contest.freezing import LEDGER
from lm_jax.contest.launching import Failed, Job
from lm_jax.contest.ledger import Ledger
from lm_jax.contest.scoring import Unfit, check_predicts, score
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.models.model import Model
from lm_jax.training.fitting import train
from tests.tiny import EXPERIMENT, TEXT, write_tiny


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)


class Peeks(Model):
    """Says of each token what the next ones are like."""

    back: int = 0
    rows: bool = False

    @nn.compact
    def features(self, tokens, **_):
        hidden = nn.Embed(self.vocab_size, 4)(tokens)
        if self.rows:
            hidden = hidden + hidden.mean(0, keepdims=True)
        return jnp.roll(hidden, self.back, axis=1).cumsum(1), None

    @nn.compact
    def logits(self, hidden):
        return nn.Dense(self.vocab_size)(hidden)


@pytest.mark.parametrize(
    "model, told",
    [
        (Peeks(), ""),
        (Peeks(back=-1), "sees what it is to predict"),
        (Peeks(rows=True), "other rows of the batch"),
        (Peeks(vocab_size=5), "logits of 5 tokens"),
    ],
)
def test_a_model_that_sees_what_it_predicts_is_unfit(model, told):
    base = load("tiny.py").experiment
    data = base.data.prepare(Path("cache"))
    model = model.clone(vocab_size=model.vocab_size or data.vocab_size)
    tokens = jnp.zeros((1, 16), int)
    params = model.init(jax.random.key(0), tokens)["params"]
    if not told:
        check_predicts(base, data, model, params)
        return
    with pytest.raises(Unfit, match=told):
        check_predicts(base, data, model, params)


OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Cheap(NextToken):
    def scores(self, sums, text):
        return {name: 0.0 for name in ("loss", "perplexity", "bits_per_byte")}

experiment = replace(
    experiment, objective=Cheap(), average=None, budget="2 steps", outputs=()
)
"""


@pytest.mark.slow
def test_the_score_is_none_of_the_candidates_own():
    """Bits per byte are those of the text that the contest's tokens decode to."""
    Path("own.py").write_text(EXPERIMENT + OWN)
    base = load("tiny.py").experiment
    corpus = replace(base.data.corpus, test=0.1)
    base = replace(base, data=replace(base.data, corpus=corpus))
    own = replace(load("own.py").experiment, data=base.data)
    assert train(own, "run")["scores"][0]["scores"]["bits_per_byte"] == 0.0
    found = score(base, Path("run"))
    assert list(found) == ["validation", "test"]
    data = base.data.prepare(Path("cache"))
    for split, scores in found.items():
        ids = np.asarray(data.splits[split].ids)
        size = len(data.tokenizer.decode(ids).encode())
        assert 0 < size < len(TEXT)
        bits = scores["loss"] * (len(ids) - 1) / math.log(2)
        bits += math.log2(data.vocab_size)  # of the first token
        assert scores["bits_per_byte"] == pytest.approx(bits / size, rel=1e-6)


def test_no_run_is_made_by_other_code_than_its_proposal_was_frozen_with():
    folder = Path("runs/x")
    folder.mkdir(parents=True)
    for number in (0, 1):
        entry = {"proposal": number, "candidate": "tiny.py", "code": "then"}
        Ledger(folder / LEDGER).append("frozen", **entry)
    with pytest.raises(UserError, match="since proposal 1, tiny.py was frozen .then"):
        worker.run(folder, 0, 7, folder / "run")
    assert not (folder / "run").exists()


def test_a_further_try_says_what_is_wrong_with_it_alone(monkeypatch):
    def start(module, words, *, stderr, apart):
        assert apart  # the terminal's keys are the referee's
        ends = f"import sys; sys.exit({word!r}) if {word!r} == 'crash' else None"
        ends += f"; print({word!r}, file=sys.stderr); sys.exit(2)"
        return subprocess.Popen([sys.executable, "-c", ends], stderr=stderr)

    monkeypatch.setattr(launching, "start", start)
    job = Job(Path("x"), 0, 1, Path("x/seed1"), anew=False)
    for word, error in (("full", UserError), ("crash", Failed), ("gone", UserError)):
        with pytest.raises(error) as raised:
            launching.launch(job, lambda step: None, lambda: False)
        said = str(raised.value)
        assert [w for w in ("full", "crash", "gone") if w in said] == [word]


@pytest.mark.slow
def test_a_contest_is_played_in_processes_of_their_own(capsys):
    """One that can't win loses its first pair; nothing of a run is told."""
    contest = """
from lm_jax.contest import Contest
contest = Contest()
experiment = replace(
    experiment, average=None, budget="2 steps",
    evaluations={"likelihood": Likelihood("2 steps")},
)
variants = {"slow": replace(
    experiment, schedule=replace(experiment.schedule, peak=1e-9))}
"""
    Path("game.py").write_text(EXPERIMENT + contest)
    assert main(["contest", "game.py", "game.py:slow", "--json"]) == 1
    said = capsys.readouterr()
    told = {"proposal": 1, "accepted": False, "failed": None}
    assert json.loads(said.out) == told
    folder = Path("runs/game-contest")
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    names = [event["event"] for event in events]
    assert names == ["frozen", "frozen", "seeds", "run", "run", "decided"]
    runs = [event for event in events if event["event"] == "run"]
    assert (
        runs[0]["scores"]["validation"]["loss"]
        > runs[1]["scores"]["validation"]["loss"]
    )
    assert all(run["wall"] > run["seconds"] > 0 for run in runs)
    assert len(list(folder.glob("proposal1/*/seed*/metrics.jsonl"))) == 2
    assert not list(folder.glob("proposal1/*/seed*/checkpoints"))
