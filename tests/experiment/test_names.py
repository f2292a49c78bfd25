"""JSON rebuilds the same experiment, or says what it cannot rebuild."""

import json
import sys

import pytest

from lm_jax.errors import UserError
from lm_jax.experiment import differences, from_json, load, save, to_json
from tests.experiment import FILES, RECIPE


def every_experiment():
    for file in FILES:
        base = load(str(file))
        yield base.experiment
        yield from sys.modules[f"experiment_{file.stem}"].variants.values()


def test_json_rebuilds_the_same_experiment():
    count = 0
    for experiment in every_experiment():
        again = from_json(json.loads(save(experiment)))
        assert again == experiment
        assert type(again.model) is type(experiment.model)
        count += 1
    assert count > 3


def test_json_of_a_type_that_is_gone_is_refused():
    document = to_json(RECIPE)
    document["objective"]["type"] = "lm_jax.objectives.next_token:LastToken"
    with pytest.raises(UserError, match="LastToken"):
        from_json(document)
    document = to_json(RECIPE)
    document["optimizer"]["warp"] = 9
    with pytest.raises(UserError, match="warp"):
        from_json(document)


def test_a_value_defined_in_the_experiment_file_comes_back(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass, replace\n"
        "from lm_jax.models.positions import NoPositions\n"
        "from lm_jax.experiment import load\n"
        "@dataclass(frozen=True)\n"
        "class Mine(NoPositions):\n"
        "    size: int = 3\n"
        f"base = load({str(FILES[0])!r}).experiment\n"
        "experiment = replace(base, model=base.model.clone(positions=Mine(5)))\n"
    )
    experiment = load(str(file)).experiment
    again = from_json(json.loads(save(experiment)))
    assert again.model.positions.size == 5
    assert not differences(again, experiment)
