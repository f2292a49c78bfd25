"""Each item is scored as if it were alone; together they are the split's score."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.data.windows import Windows
from lm_jax.evaluation.items import each_row
from lm_jax.mesh import make_mesh
from lm_jax.runs.items import read_items
from lm_jax.runs.result import find_scores, read_result
from lm_jax.sharding import Sharding
from lm_jax.training.fitting import load_fitted
from tests.data.test_labelled import write_table
from tests.tiny import write_tiny
from tests.training.test_buckets import EXPERIMENT

MESH = make_mesh(Sharding(), jax.devices()[:1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (device, *_) = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: [device])
    return tmp_path


@pytest.mark.parametrize("order", [None, np.array([3, 0, 4, 2, 1])])
def test_no_padded_row_is_an_item_and_each_keeps_its_number(order):
    numbers = np.arange(5) if order is None else order

    def row(index):
        return {"nats": np.float32(10.0 ** numbers[index]), "mask": np.float32(1)}

    def step(params, batch, carry):
        assert batch["nats"].shape == (1,)
        nats = (batch["nats"] * batch["mask"]).sum()
        return {"nats": params * nats, "weight": batch["mask"].sum()}, carry

    groups = ((3, 2), (2, 2))
    told = []
    windows = Windows(5, row, 2, groups, order)
    found = each_row(step, 2.0, windows, MESH, lambda *what: told.append(what))
    assert list(found.numbers) == list(numbers) and list(found.weight) == [1] * 5
    assert np.allclose(found.sums["nats"], 2 * 10.0**found.numbers)
    assert found.mean("loss") == pytest.approx(2 * 11111 / 5)
    assert told[-1] == ("scoring items", 3, 3)


@pytest.mark.slow
def test_a_classifiers_items_are_its_texts(folder, capsys):
    write_table(folder / "table.jsonl", 90)
    short = EXPERIMENT.replace("12 epochs", "2 epochs").replace("3 epochs", "1 epoch")
    (folder / "colours.py").write_text(short)
    assert main(["train", "colours.py", "--run", "run"]) == 0
    run, result = Path("run"), read_result(Path("run"))
    step = result["steps"]
    assert main(["evaluate", "run", "--step", str(step), "--items"]) == 0
    items = read_items(run, "validation", step).items
    scores = find_scores(result, "validation", "end")
    for score in ("loss", "accuracy"):
        assert items.mean(score) == pytest.approx(scores[score], rel=1e-5)
    # The first and the last text of the split, read alone from their tokens.
    fitted = load_fitted(run, step)
    tokens = fitted.data.splits["validation"]
    assert len(items.numbers) == len(tokens.documents) - 1
    for k in (0, len(items.numbers) - 1):
        ids = np.array(tokens.ids[tokens.documents[k] : tokens.documents[k + 1]])
        inputs = np.pad(ids, (0, 8 - len(ids)))[None].astype(np.int32)
        batch = {"inputs": inputs, "segments": np.arange(8)[None] < len(ids)}
        logits = _logits(fitted.loaded, batch)
        nats = -jax.nn.log_softmax(logits)
        assert np.isclose(nats, items.sums["nats"][k], rtol=1e-4).any()
    capsys.readouterr()
    assert main(["evaluate", "run", "--items", "--corpus", "table.jsonl"]) == 2
    assert "scores on their own text" in " ".join(capsys.readouterr().err.split())


def _logits(loaded, batch):
    objective = loaded.experiment.objective
    bound = loaded.model.bind({"params": loaded.params})
    batch = {name: jnp.asarray(field, jnp.int32) for name, field in batch.items()}
    return objective.predict(bound, batch)[0][0]


@pytest.mark.slow
def test_windows_are_items_and_a_carried_state_has_none(folder, capsys):
    write_tiny(folder)
    short = ["--budget", "4 steps"]
    assert main(["train", "tiny.py", "--run", "run", *short]) == 0
    assert main(["evaluate", "run", "--step", "4", "--items"]) == 0
    items = read_items(Path("run"), "validation", 4).items
    scores = find_scores(read_result(Path("run")), "validation", "end")
    assert items.mean("loss") == pytest.approx(scores["loss"], rel=1e-5)
    assert items.weight.sum() == scores["tokens"]
    assert main(["train", "tiny.py:recurrent", "--run", "carried", *short]) == 0
    capsys.readouterr()
    assert main(["evaluate", "carried", "--items"]) == 2
    assert "makes them one text" in " ".join(capsys.readouterr().err.split())
    assert not Path("carried/items").exists()
