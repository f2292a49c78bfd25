"""environment.json: one entry for each start of a run."""

import json

import jax
import pytest

from lm_jax.errors import UserError
from lm_jax.runs.environment import environment, record_environment


def test_it_says_what_the_numbers_depend_on(monkeypatch):
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    monkeypatch.setenv("UNRELATED", "secret")
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "lm_jax", "train x.py"])
    found = environment()
    assert found["versions"]["jax"] == jax.__version__
    assert len(found["devices"]) == jax.device_count()
    assert found["variables"]["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert "secret" not in json.dumps(found["variables"])
    assert found["cores"] >= 1
    assert found["command"] == "python -m lm_jax 'train x.py'"


def test_the_precision_of_products_is_kept(tmp_path):
    record_environment(tmp_path, dtype="tf32")
    (first,) = json.loads((tmp_path / "environment.json").read_text())
    assert first["precision"] == "high"


def test_every_start_is_kept(tmp_path):
    record_environment(tmp_path)
    first = json.loads((tmp_path / "environment.json").read_text())
    record_environment(tmp_path)
    both = json.loads((tmp_path / "environment.json").read_text())
    assert len(first) == 1
    assert first[0]["precision"] == "highest"
    assert both[:1] == first
    assert len(both) == 2


@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_damaged_record_is_named_and_kept(tmp_path, content):
    path = tmp_path / "environment.json"
    path.write_text(content)
    with pytest.raises(UserError, match="environment.json"):
        record_environment(tmp_path)
    assert path.read_text() == content
