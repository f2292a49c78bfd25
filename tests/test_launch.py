"""launch.sh with fake interpreters: no network, no installation."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_machine import Machine, new_machine


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    yield new_machine(tmp_path)


@pytest.fixture
def ready(machine) -> Machine:
    """A machine where everything is installed already."""
    machine.install("python3.12", "3.12.4")
    assert machine.launch()[0] == 0
    assert len(machine.calls()) == 2  # venv, pip
    return machine


VERSIONS = st.tuples(st.integers(10, 14), st.integers(0, 11))
KINDS = st.sampled_from(["works", "works", "shim", "no ensurepip", "free-threaded"])


@settings(max_examples=12)
@given(
    on_path=st.dictionaries(
        st.sampled_from(["python3", "python3.11", "python3.12", "python3.13"]),
        st.tuples(VERSIONS, KINDS),
    ),
    pyenv=st.dictionaries(VERSIONS, KINDS, max_size=3),
)
def test_newest_working_python_is_taken(on_path, pyenv):
    found = list(on_path.values()) + list(pyenv.items())
    working = [v for v, kind in found if kind == "works" and 11 <= v[0] <= 13]
    with tempfile.TemporaryDirectory() as folder:
        machine = new_machine(Path(folder))
        for name, (version, kind) in on_path.items():
            machine.install(name, "3.{}.{}".format(*version), kind)
        for version, kind in pyenv.items():
            machine.install("pyenv", "3.{}.{}".format(*version), kind)
        status, _, err = machine.launch()
        if working:
            newest = "3.{}.{}".format(*max(working))
            assert status == 0
            assert f"Python {newest} (" in err
            assert machine.calls()[0] == f"{newest} -m venv {machine.venv}"
        else:
            assert (status, machine.calls()) == (2, [])
            assert "found no working Python 3.11, 3.12 or 3.13" in err


def test_every_python_that_is_no_use_is_named_with_its_fault(machine):
    machine.install("python3.13", "3.13.0", "shim")
    machine.install("python3.12", "3.12.0", "no ensurepip")
    machine.install("python3.11", "3.11.0", "free-threaded")
    machine.install("python3", "3.9.2")
    _, _, err = machine.launch()
    assert "bin/python3.13 does not run\n" in err
    assert "bin/python3.12 has no venv or ensurepip (Debian: apt install" in err
    assert "bin/python3.11 is a free-threaded Python" in err
    assert "bin/python3 is Python 3.9.2\n" in err


def test_override_is_taken_though_it_is_older(machine):
    machine.install("python3.13", "3.13.0")
    older = machine.install("mine", "3.11.3")
    status, _, err = machine.launch(LM_JAX_PYTHON=str(older))
    assert status == 0
    assert machine.calls()[0].startswith("3.11.3 -m venv")
    assert "Python 3.12 and 3.13 get a newer jax" in err


@pytest.mark.parametrize("override", ["mine", "shim", "echo", "/nowhere/python"])
def test_override_that_does_not_fit_is_refused_in_one_line(machine, override):
    machine.install("python3.13", "3.13.0")
    machine.install("mine", "3.10.3")
    machine.install("shim", "3.13.0", "shim")
    status, out, err = machine.launch(LM_JAX_PYTHON=override)
    assert (status, out, machine.calls()) == (2, "", [])
    assert override in err and "3.11 to 3.13" in err and err.count("\n") == 1
    assert not machine.venv.exists()


def test_works_through_links_and_keeps_the_working_directory(ready):
    elsewhere = ready.folder / "some where"
    elsewhere.mkdir()
    (elsewhere / "second").symlink_to("../the project/launch.sh")
    (elsewhere / "first").symlink_to(elsewhere / "second")
    (elsewhere / "launch").symlink_to("first")
    expected = f"[-P][-m][lm_jax][show][{elsewhere}]"
    for command in (["./launch"], ["sh", "launch"], [elsewhere / "launch"]):
        status, out, _ = ready.launch("show", command=command, cwd=elsewhere)
        assert (status, out) == (0, expected), command
    out = ready.launch("show", command=["some where/launch"])[1]
    assert out == f"[-P][-m][lm_jax][show][{ready.folder}]"
    on_path = f"{elsewhere}:{ready.folder / 'bin'}"
    command = ["sh", "-c", "launch show"]
    assert ready.launch(command=command, cwd=elsewhere, PATH=on_path)[1] == expected
    assert ready.calls() == []


def test_arguments_and_exit_code_pass_through(ready):
    args = ["a  b", "", "--c=*", "'", "$HOME", "-P"]
    status, out, err = ready.launch(*args, STATUS="7")
    assert status == 7
    assert out == f"[-P][-m][lm_jax]{''.join(f'[{a}]' for a in args)}[{ready.folder}]"
    assert err == ""


def test_no_arguments_ask_for_help(ready):
    assert ready.launch()[1].startswith("[-P][-m][lm_jax][--help]")


def test_signals_reach_the_command(ready):
    process = ready.start("wait")
    assert process.stdout.readline() == "waiting\n"
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 42


def test_unchanged_installs_nothing_and_says_nothing(ready):
    # A probe of any Python would now fail.
    for name in ("python3.12", "python3"):
        ready.install(name, "3.12.4", "shim")
    assert ready.launch("show")[::2] == (0, "")
    assert ready.calls() == []


@pytest.mark.parametrize("file", ["requirements.txt", "pyproject.toml"])
def test_change_of_what_is_wanted_installs_once(ready, file):
    with open(ready.root / file, "a") as text:
        text.write("flax\n")
    ready.launch()
    (call,) = ready.calls()
    assert "-m pip install" in call
    assert f"-r {ready.root}/requirements.txt -e {ready.root}" in call
    ready.launch()
    assert ready.calls() == []


def test_another_interpreter_makes_the_environment_anew(ready):
    stale = ready.venv / "stale"
    stale.touch()
    other = ready.install("other", "3.13.1")
    ready.launch(LM_JAX_PYTHON=str(other))
    assert [call.split()[0] for call in ready.calls()] == ["3.13.1", "3.13.1"]
    assert not stale.exists()
    (ready.root / "requirements.txt").write_text("flax\n")
    ready.launch()  # and it stays when it is no longer asked for
    assert [call.split()[:3] for call in ready.calls()] == [["3.13.1", "-m", "pip"]]
    ready.launch(LM_JAX_PYTHON=str(other))
    assert ready.calls() == []


def test_moved_project_is_installed_anew(ready):
    moved = ready.folder / "moved"
    ready.root.rename(moved)
    ready.launch(command=[moved / "launch.sh"])
    assert ready.calls()[0] == f"3.12.4 -m venv {moved / '.venv'}"


def test_extras_are_asked_for_added_up_and_checked(ready):
    ready.launch(LM_JAX_EXTRAS="wandb")
    assert ready.calls()[0].endswith("[wandb]")
    ready.launch(LM_JAX_EXTRAS="cuda, wandb")
    assert ready.calls()[0].endswith("[wandb,cuda]")
    ready.launch(LM_JAX_EXTRAS="wandb")
    ready.launch(LM_JAX_EXTRAS="")
    assert ready.calls() == []
    status, _, err = ready.launch(LM_JAX_EXTRAS="wand")
    assert (status, ready.calls()) == (2, [])
    assert "'wand'; the extras are: cuda tpu wandb" in err
    assert ready.launch()[0] == 0


def test_gpu_is_seen_and_said_aloud(machine):
    machine.install("python3.12", "3.12.4")
    smi = machine.folder / "bin" / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho GPU 0\n")
    smi.chmod(0o755)
    options = {"command": ["sh", "-c", "unset LM_JAX_EXTRAS; exec ../*/launch.sh"]}
    _, _, err = machine.launch(**options, cwd=machine.folder / "bin")
    assert machine.calls()[1].endswith("[cuda]")
    assert "extras: cuda" in err
    # A machine without one and the same .venv; to ask again would take time.
    smi.write_text(f"#!/bin/sh\necho asked >>{machine.folder}/calls; exit 9\n")
    machine.launch(**options, cwd=machine.folder / "bin")
    assert machine.calls() == []


def test_failed_installation_names_the_log_and_is_not_remembered(machine):
    machine.install("python3.12", "3.12.4")
    status, out, err = machine.launch(PIP_FAILS="1")
    assert (status, out) == (1, "")
    log = machine.venv / "launch.log"
    assert str(log) in err and "ERROR: no network" in err
    assert "no network" in log.read_text()
    machine.calls()
    assert machine.launch()[0] == 0
    assert len(machine.calls()) == 2  # venv, pip


def test_failed_update_leaves_the_environment_that_stood(ready):
    wanted = ready.root / "requirements.txt"
    before = wanted.read_text()
    wanted.write_text("flax\n")
    status, _, err = ready.launch(PIP_FAILS="1")
    assert status == 1
    assert f"{ready.venv}/bin/python -m lm_jax" in err
    ready.calls()
    wanted.write_text(before)
    assert ready.launch()[0] == 0
    assert ready.calls() == []
    wanted.write_text("flax\n")
    ready.launch()
    assert len(ready.calls()) == 1  # pip


@pytest.mark.parametrize("update", [False, True])
def test_killed_installation_is_done_again(ready, update):
    if update:
        (ready.root / "requirements.txt").write_text("flax\n")
    else:
        shutil.rmtree(ready.venv)
    process = ready.start(PIP_TAKES="20")
    while "pip" not in "".join(calls := ready.calls()):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert calls
    (ready.venv / "half").touch()
    assert ready.launch()[0] == 0
    assert len(ready.calls()) == 2  # venv, pip
    assert not (ready.venv / "half").exists()


def test_two_launches_at_once_install_once(machine):
    machine.install("python3.12", "3.12.4")
    both = [machine.start("show", PIP_TAKES="0.7") for _ in range(2)]
    outputs = [process.communicate(timeout=30) for process in both]
    assert all(out.startswith("[-P][-m][lm_jax][show]") for out, _ in outputs)
    assert len(machine.calls()) == 2  # venv, pip
    assert sum("waiting" in err for _, err in outputs) == 1


def test_environment_of_the_users_own_is_left_alone(machine):
    machine.install("python3.12", "3.12.4")
    own = machine.venv / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    status, _, err = machine.launch()
    assert status == 2 and "was not made by launch.sh" in err
    assert own.read_text() == "mine"


def test_environment_of_another_checkout_is_left_alone(ready, tmp_path):
    """A link to it is no reason to empty it; an empty place elsewhere is filled."""
    for name in ("other", "large"):
        (tmp_path / name).mkdir()
    other = new_machine(tmp_path / "other")
    other.install("python3.12", "3.12.4")
    (other.root / ".venv").symlink_to(ready.venv)
    before = sorted(ready.venv.rglob("*"))
    status, _, err = other.launch()
    assert (status, other.calls()) == (2, [])
    assert f"is a link to the environment of {ready.root}" in err
    assert sorted(ready.venv.rglob("*")) == before
    (other.root / ".venv").unlink()
    (other.root / ".venv").symlink_to(tmp_path / "large")
    assert other.launch()[0] == 0
