"""Training on examples of several lengths: compiled once each, resumed bit for bit."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.experiment import load
from lm_jax.runs.result import find_scores, read_result
from lm_jax.training import loop
from lm_jax.training.compiled import Compiled
from lm_jax.training.guards import Recompiled
from lm_jax.training.setup import set_up
from tests.data.test_labelled import write_table

EXPERIMENT = '''"""Tell colours apart.

Run:     ./launch.sh train colours.py
Expect:  nothing
Source:  none
"""

from lm_jax.data import Labelled
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import ConvEncoder
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=Labelled(Corpus("table.jsonl", validation=0.2), Words(), "kind", (2, 4, 8)),
    model=ConvEncoder(width=8, kernels=(1, 2), maps=8),
    objective=Classify(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=1e-2, warmup="2 steps"),
    batch="16 tokens",
    budget="12 epochs",
    evaluations={"likelihood": Likelihood("3 epochs")},
)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_table(tmp_path / "table.jsonl", 90)
    (tmp_path / "colours.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    devices = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    return tmp_path


def losses(run):
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return {r["step"]: r["loss"] for r in map(json.loads, lines) if "loss" in r}


@pytest.mark.slow
def test_a_classifier_learns_and_goes_on_as_if_it_had_never_stopped(folder, capsys):
    assert main(["train", "colours.py", "--run", "whole"]) == 0
    said = capsys.readouterr().out
    assert "8 x 2 or 4 x 4 or 2 x 8" in said and "accuracy" in said
    result = read_result(Path("whole"))
    assert find_scores(result, "validation", "end")["accuracy"] == 1.0

    class Enough(BaseException):
        pass

    def stopping(setup, first, feed=loop._feed):
        for item in feed(setup, first):
            if item[0] == setup.every["likelihood"] + 5:
                raise Enough
            yield item

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Enough):
        patch.setattr(loop, "_feed", stopping)
        main(["train", "colours.py", "--run", "stopped"])
    assert main(["train", "colours.py", "--run", "stopped"]) == 0
    assert losses("whole") == losses("stopped")
    assert main(["evaluate", "whole"]) == 0
    assert "the text, up to 8 tokens" in capsys.readouterr().out
    assert main(["inspect", "whole", "--step", "3"]) == 0


@pytest.mark.slow
def test_every_shape_is_compiled_before_the_first_step(folder, monkeypatch):
    setup = set_up(load("colours.py").experiment)
    compiled = Compiled(setup)
    compiled.plan(setup)
    guard = compiled.guard()
    state, seen = setup.first_state(), set()
    lowered, constants = [], setup.constants()
    real = jax._src.compiler.compile_or_get_cached

    def counting(*args, **kwargs):
        lowered.append(args)
        return real(*args, **kwargs)

    feed = loop._feed(setup, 0)
    for _ in range(int(setup.order.steps_per_epoch)):
        _, batch, *_ = next(feed)
        shape = batch["inputs"].shape
        with monkeypatch.context() as patch:
            patch.setattr(jax._src.compiler, "compile_or_get_cached", counting)
            state, _ = compiled.step(state, batch, constants)
        seen.add(shape)
        assert lowered == [], shape
    assert seen == {tuple(s) for s in setup.order.shapes}
    guard.check()
    other = {name: np.zeros((2, *a.shape[1:]), a.dtype) for name, a in batch.items()}
    other["inputs"] = other["segments"] = np.zeros((2, 5), np.int32)
    compiled.step(state, other, constants)
    with pytest.raises(Recompiled, match="train_step"):
        guard.check()


def test_a_class_for_each_label_and_no_other(folder, capsys):
    setup = set_up(load("colours.py").experiment)
    assert setup.model.classes == 3
    for args, said in (
        (["--model.classes", "4"], "model.classes is 4, and the data has 3 labels"),
        (["--batch", "7 tokens"], "'7 tokens' is less than one example of 8 tokens"),
        (["--batch", "3"], "can't be divided"),
        (["--objective", "NextToken"], 'NextToken reads "targets"'),
    ):
        assert main(["train", "colours.py", *args]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_rows_of_zeros_change_no_loss(folder, monkeypatch):
    """Two devices need an even number of rows; one takes the rows as they are."""
    both = set_up(load("colours.py").experiment)
    alone = set_up(load("colours.py").experiment, jax.devices()[:1])
    found = []
    for setup in (alone, both):
        step, state = Compiled(setup).step, setup.first_state()
        feed = loop._feed(setup, 0)
        found.append([])
        for _ in range(5):
            _, batch, *_ = next(feed)
            state, metrics = step(state, batch, setup.constants())
            found[-1].append(float(metrics["loss"]))
    np.testing.assert_allclose(*found, rtol=1e-5)
