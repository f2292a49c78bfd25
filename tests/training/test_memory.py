"""Memory that is not there is said with what was asked for, and what would fit."""

import re
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.experiment import Execution, load
from lm_jax.runs.display import Display
from lm_jax.training import loop, memory
from lm_jax.training.compiled import Compiled
from lm_jax.training.memory import Plan, check_batch, is_out_of_memory, ran_out
from lm_jax.training.run import train_run
from lm_jax.training.setup import set_up
from tests.properties import quick
from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)


def made(**changes):
    experiment = replace(load("tiny.py").experiment, **changes)
    return set_up(experiment, jax.devices()[:1])


@pytest.mark.parametrize("batch", [100_000_000, "100000000000 tokens"])
def test_a_batch_larger_than_the_machine_is_refused_at_once(batch, monkeypatch):
    """Nothing of its size is made; the run is not begun."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 8_000_000_000)
    setup = made(batch=batch)
    with pytest.raises(UserError, match=r"rows of 16 tokens.*8.0 GB.*--batch"):
        check_batch(setup)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    write_tiny(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield made(batch=64, execution=Execution(accumulate=2))


@quick
@given(
    state=st.integers(0, 10**10),
    each=st.integers(1, 10**9),
    limit=st.integers(1, 3 * 10**10),
)
def test_what_is_said_to_fit_fits(setup, state, each, limit):
    """As far as what a step holds grows with its rows."""
    total = state + 32 * each  # 64 rows in 2 parts
    said = memory.too_large(setup, Plan(state, total), limit)
    assert "64 rows of 16 tokens in 2 parts" in said
    if limit < state + each:
        assert "No batch fits" in said
        return
    parts = int(re.search(r"--accumulate (\d+)", said)[1])
    assert 64 % parts == 0 and state + 64 // parts * each <= limit
    rows = int(re.search(r"--batch (\d+)", said)[1])
    assert state + rows * each <= limit < state + (rows + 1) * each


def test_tokens_are_answered_in_tokens():
    said = memory.too_large(made(batch="1024 tokens"), Plan(0, 64_000), 9_999)
    assert '--batch "144 tokens"' in said  # 9 rows of 16


def test_what_ran_out_is_told_from_other_errors(setup):
    jaxs = jax.errors.JaxRuntimeError
    lost = jaxs("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    assert is_out_of_memory(lost) and is_out_of_memory(MemoryError())
    assert is_out_of_memory(np._core._exceptions._ArrayMemoryError((9,), np.dtype("i")))
    assert not is_out_of_memory(jaxs("INTERNAL: a device was lost"))
    assert not is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: file handles"))
    said = ran_out(setup, lost)
    assert "allocating 9 bytes" in said and "--accumulate 4" in said
    assert "--remat full" in said
    again = replace(setup, model=setup.model.clone(remat="full"))
    assert "--remat" not in ran_out(again, RuntimeError("allocating 9 bytes"))
    assert "--batch 32" in said and "Traceback" not in said


def test_a_device_says_what_it_has(setup):
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 7})
    mesh = SimpleNamespace(local_devices=[device], size=1)
    assert memory.memory_limit(mesh) == 7
    device.memory_stats = lambda: None
    assert memory.memory_limit(mesh) is None
    assert memory.memory_limit(setup.mesh) == memory.machine_memory()


def test_processes_elsewhere_have_their_own_memory(monkeypatch):
    """Two processes a machine, of four devices each, on four machines."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 8000)
    monkeypatch.setattr(memory, "beside", lambda: 2)
    device = SimpleNamespace(platform="cpu")
    mesh = SimpleNamespace(local_devices=[device] * 4, size=32)
    assert memory.memory_limit(mesh) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("how", ["planned", "met"])
def test_a_step_that_does_not_fit_is_one_message(how, monkeypatch, capsys):
    if how == "planned":
        monkeypatch.setattr(memory, "machine_memory", lambda: 2_000_000)
    else:
        error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: allocating 9 bytes")

        def fail(*_):
            raise error

        monkeypatch.setattr("lm_jax.training.run.train", fail)
    assert main(["train", "tiny.py", "--run", "r", "--batch", "512"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "512 rows of 16 tokens" in said and "--accumulate" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("memories", "large"), [(7, 1000), (9, 0)])
def test_a_step_is_large_from_an_eighth_of_the_memory_on(
    memories, large, setup, monkeypatch
):
    whole = memories * 1000 * setup.mesh.size
    monkeypatch.setattr(memory, "machine_memory", lambda: whole)
    analysis = SimpleNamespace(temp_size_in_bytes=1000)
    assert memory.temporary_if_large(setup, analysis) == large
    assert memory.temporary_if_large(setup, None) == 0


@pytest.mark.slow
@pytest.mark.parametrize("large", [0, 1000])
def test_the_memory_of_each_large_step_is_handed_back(
    large, setup, monkeypatch, tmp_path
):
    """Others run ahead, and keep it."""
    handed = []
    monkeypatch.setattr(loop, "give_back_memory", handed.append)
    compiled = Compiled(setup)
    compiled.plan(setup)
    assert compiled.large == 0
    compiled.large = large
    shown = Display(setup.total)
    train_run(setup.experiment, tmp_path / "run", setup, shown, compiled)
    assert handed == [1000] * setup.total * (large > 0)
