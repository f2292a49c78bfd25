"""A value of the wrong type in an experiment's file is named where it is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_jax.experiment import load
from tests.tiny import write_tiny

ROOT = Path(__file__).parents[2]
DATA = 'TokenStream(Corpus("text.txt"), Characters(), context=16)'
WRONG = [
    ('"12 steps"', "300", 'budget=300: it takes text in quotes. Write "300 steps"?'),
    ('Likelihood("4 steps")', "Likelihood(9)", "evaluations.likelihood.every=9: it"),
    ('Likelihood("4 steps")', '"x"', "evaluations.likelihood='x': it takes Likelihood"),
    (
        DATA,
        'TokenStream("a.txt", Characters())',
        "data.corpus='a.txt': it takes Corpus",
    ),
    (
        DATA,
        DATA.replace("Characters()", "Characters"),
        "Characters is a class: write C",
    ),
    ("AdamW()", '"adamw"', "optimizer='adamw': it takes SGD(), RMSProp(), AdamW()"),
    ("positions=Learned()", "positions=Learned", "positions=Learned is a class: write"),
    ("layers=1", 'layers="1"', "model.layers='1': it takes a whole number."),
    ("dropout=0.1)", "dropout=None)", "model.dropout=None: it takes a number."),
    ("batch=8", "batch=8.5", "batch=8.5: it takes a whole number or text in quotes."),
    (
        "experiment = Experiment(",
        "from lm_jax.experiment import Compute, Execution\nexperiment = Experiment(\n"
        "    execution=Execution(compute=Compute(remat='ful')),",
        "execution.compute.remat='ful': it takes 'none' or 'full' or 'products' or",
    ),
    (
        "experiment = Experiment(",
        "experiment = Experiment(held=('data',),",
        "held=('data',): it takes a tuple of 'order' or 'initial' or 'dropout'.",
    ),
    ("MovingAverage(0.5)", "0.5", "average=0.5: it takes MovingAverage()"),
]
# What stands beside the experiment, and the message.
STUDIES = [
    ("Study(measure=3)", "study.measure=3: it takes text in quotes or None."),
    ('Study(published={"w": -0.03})', "study.published.w=-0.03: it takes Published"),
    ("Study(published=[0.1])", "study.published=[0.1]: it takes a mapping."),
    ('Study(tune=[("schedule.peak", 1)])', "study.tune=[('schedule.peak', 1)]: it"),
    ('Study(match="flops", match_by=(3,))', "study.match_by=(3,): it takes a tuple"),
    ("Study(vary=None)", "study.vary=None: it takes text in quotes."),
    ('PublishedEffect("0.1", "Su")', "PublishedEffect.effect='0.1': it takes a number"),
    ('log_uniform("1", 2)', "log_uniform('1', 2): give two numbers"),
    ("integers(1.5, 3)", "integers(1.5, 3): give two whole numbers"),
]
BESIDE = "from lm_jax.ablation import *\nstudy = {}\nvariants = {{"
WRONG += [("variants = {", BESIDE.format(call), said) for call, said in STUDIES]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# In a process without the types that tests check: what a user's call goes through.
LOADING = """
import json, sys
from pathlib import Path
from lm_jax.errors import UserError
from lm_jax.experiment import load

said = []
for text in json.load(sys.stdin):
    Path("tiny.py").write_text(text)
    try:
        load("tiny.py")
        said.append("")
    except UserError as error:
        said.append(" ".join(str(error).split()))
print(json.dumps(said))
"""


def test_a_value_of_the_wrong_type_is_named(folder):
    right = (folder / "tiny.py").read_text()
    assert all(old in right for old, _, _ in WRONG)
    texts = [right, *(right.replace(old, new, 1) for old, new, _ in WRONG)]
    done = subprocess.run(
        [sys.executable, "-c", LOADING],
        input=json.dumps(texts),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    fine, *said = json.loads(done.stdout)
    assert fine == ""
    for (_, _, words), message in zip(WRONG, said, strict=True):
        assert words in message


def test_kinds_of_ones_own_are_taken_as_they_are(folder):
    path = folder / "tiny.py"
    own = "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\n"
    own += "class Mine(NextToken):\n    sharp: int = None\n\n\nexperiment = "
    text = path.read_text().replace("NextToken(),", "Mine(),", 1)
    path.write_text(text.replace("experiment = ", own, 1))
    assert load("tiny.py").experiment.objective.sharp is None
