"""Which devices there are to compile for, and what is said of those that aren't."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import pytest

from lm_jax.__main__ import main
from lm_jax.commands import plan as plan_command
from lm_jax.errors import UserError
from lm_jax.scaling import topology
from lm_jax.scaling.topology import topologies
from tests.scaling.test_side_by_side import made
from tests.tiny import write_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with tiny.py, where nothing compiles and jax has started."""
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    jax.devices()

    def compiles(*args, **named):
        raise AssertionError("compiled")

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiles)
    return tmp_path


def test_virtual_devices_have_no_figures():
    few, many = topologies("cpu:2,cpu:8")
    assert [len(few.devices), len(many.devices)] == [2, 8]
    assert few.chip is many.chip is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("v5q:2x2", "Did you mean 'v5p'? There is: cpu, h100, v5e, v5p, v6e."),
        ("", "'' is no kind of device"),
        ("cpu:8,", "'' is no kind of device"),
        ("v5e", "There is: cpu:N, v5e:AxB, v5p:AxBxC, v6e:AxB, h100:A"),
        ("v5e:4", "'v5e:4' has no form"),
        ("v5p:2x2", "'v5p:2x2' has no form"),
        ("v5e:0x2", "'v5e:0x2' has no form"),
        ("cpu:2x2", "'cpu:2x2' has no form"),
        ("cpu:9", "jax has started with 8 cpu devices"),
    ],
)
def test_a_topology_that_there_is_not(names, words):
    with pytest.raises(UserError, match=".") as said:
        topologies(names)
    assert words in str(said.value)


def test_without_libtpu_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr(topology, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="LM_JAX_EXTRAS=tpu ./launch.sh doctor"):
        topologies("cpu:2,v5e:2x2")
    with pytest.raises(UserError, match="LM_JAX_EXTRAS=cuda ./launch.sh doctor"):
        topologies("h100:8")


def test_a_machine_of_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(topology, "_find_compilers", lambda *found: None)
    with pytest.raises(UserError, match="There is: h100:1, h100:2, h100:4, h100:8"):
        topologies("h100:16")


def test_slices_are_of_tpus():
    with pytest.raises(UserError, match="--slices 2: cpu:4 is no slice of TPUs"):
        topologies("cpu:4", 2)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--topology", "--topology needs names of topologies"),
        ("--topolgy cpu:8", "Did you mean --topology cpu:8?"),
        ("--topology v7:2x2", "'v7' is no kind of device"),
        ("--topology cpu:8 --fsdp 3", "The mesh data=-1, fsdp=3, tensor=1 doesn't"),
        ("--topology cpu:8 --mesh fsdp=8 --mesh fsdp=3", "data=-1, fsdp=3, tensor=1"),
        ("--mesh fsdq=8", "'fsdq' is no axis. Did you mean 'fsdp'?"),
        ("--remat full,nine", "'nine' is none. Did you mean 'none'?"),
        ("--topology cpu:8 --slices 2", "cpu:8 is no slice of TPUs"),
        ("--topology cpu:8 --slices two", "how many there are, not 'two'"),
        ("--topology cpu:8 --scaling a.png", "one chip whose figures are known"),
        ("--remat full,none --scaling a.png", "give one --mesh and one --remat"),
        ("--topology cpu:8 --batch 6", "The nearest that can: 8 (--batch)."),
        ("--topology cpu:8 --model.width 15", "divide model.width=15"),
    ],
)
def test_what_is_wrong_is_said_before_anything_compiles(typed, words, capsys):
    assert main(["plan", "tiny.py", *typed.split()]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_case_that_fails_leaves_the_others(monkeypatch, capsys):
    def planned(setup, topology):
        if setup.experiment.execution.compute.remat == "full":
            raise ArithmeticError("an MFU of 110%")
        return made()

    monkeypatch.setattr(plan_command, "plan", planned)
    asked = ["plan", "tiny.py", "--topology", "cpu:8"]
    assert main([*asked, "--remat", "full,none"]) == 1
    told = capsys.readouterr()
    assert "8 data, full: failed (an MFU of 110%)" in told.out + told.err
    assert "model's own" in told.out
    assert main([*asked, "--remat", "full,none", "--json"]) == 1
    fine, failed = json.loads(capsys.readouterr().out)["plans"]
    assert fine["fits"] and failed["failed"] == "an MFU of 110%"
    assert main([*asked, "--remat", "full"]) == 1
    assert "failed  an MFU of 110%" in capsys.readouterr().out
    assert main([*asked, "--remat", "none"]) == 0


def test_what_counts_has_no_step(capsys):
    counts = str(ROOT / "experiments/families_shakespeare.py:ngram")
    assert main(["plan", counts]) == 2
    assert "no step to plan" in " ".join(capsys.readouterr().err.split())


def run(*args):
    """A process of its own, as a user's, but for a compiler that hurries."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_P")}
    kept["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    return subprocess.run(
        [sys.executable, "-m", "lm_jax", "plan", "tiny.py", *args],
        env=kept | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_process_of_its_own_has_as_many_devices_as_it_asks_for():
    meshes = "--mesh fsdp=16 --mesh data=2,fsdp=4,tensor=2"
    done = run(*meshes.split(), "--batch", "16")
    assert done.returncode == 0, done.stderr
    assert "cpu:16, " in done.stdout and "compiled" in done.stdout
    for mesh in ("16 fsdp", "2 data x 4 fsdp x 2 tensor"):
        assert f" {mesh}  " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    for word in ("memory", "FLOPs", "times the model's own", "along fsdp", "seconds"):
        assert word in done.stdout


NO_LIBTPU = pytest.mark.skipif(
    find_spec("libtpu") is None, reason="libtpu, the TPU's compiler, is not installed"
)


@NO_LIBTPU
def test_a_step_is_compiled_for_tpus_that_are_not_here():
    done = run("--topology", "v5e:2x2", "--model.layers", "2", "--scan", "True")
    assert done.returncode == 0, done.stderr
    assert "of 16 GiB" in done.stdout and "binds" in done.stdout
    # Nothing of libtpu's search for a TPU.
    assert done.stderr == "compiling for v5e:2x2, 4 data, remat none\n"


@NO_LIBTPU
def test_a_topology_that_libtpu_does_not_know():
    done = run("--topology", "v5e:3x3")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "There is: v5e:1x1, v5e:2x2, v5e:2x4" in " ".join(done.stderr.split())


@NO_LIBTPU
@pytest.mark.slow
def test_two_slices_are_joined_by_the_network():
    more = "--slices 2 --fsdp 4 --batch 16 --remat full,none --json"
    done = run("--topology", "v5e:2x2", *more.split())
    assert done.returncode == 0, done.stderr
    plans = json.loads(done.stdout)["plans"]
    assert [plan["topology"] for plan in plans] == ["2 x v5e:2x2"] * 2
    assert {plan["remat"] for plan in plans} == {"full", "none"}
    assert plans[0]["estimated"]["seconds"] <= plans[1]["estimated"]["seconds"]
    for plan in plans:
        links = {each["link"]: each["axis"] for each in plan["compiled"]["collectives"]}
        assert links["DCN"] == "data" and links["ICI fsdp"] == "fsdp"
        assert plan["estimated"]["alone"]["DCN"] > 0


@NO_LIBTPU
@pytest.mark.slow
@pytest.mark.parametrize(
    "mesh", ["fsdp=4", "data=4", "data=2,fsdp=2", "data=2,tensor=2"]
)
def test_slices_sum_each_gradient_once_for_each_part_of_a_batch(mesh):
    """Each of four chips hands over a quarter of them, whatever the mesh in a slice."""
    size = "--layers 2 --width 256 --context 64 --model.dtype bfloat16 --scan True"
    asked = f"--slices 2 --mesh replica=2,{mesh} --batch 16 --accumulate 2 {size}"
    done = run("--topology", "v5e:2x2", *asked.split(), "--json")
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads(done.stdout)["plans"]
    found = plan["compiled"]["collectives"]
    sent = {each["axis"]: each["bytes"] for each in found if each["link"] == "DCN"}
    parameters = 2 * 12 * 256**2
    assert sent.keys() == {"replica"}
    assert sent["replica"] == pytest.approx(2 * 2 * parameters / 4, rel=0.05)


@NO_LIBTPU
@pytest.mark.slow
def test_weak_scaling_is_drawn_and_said(place):
    done = run("--topology", "v5e:2x2", "--scaling", "weak.png")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    chips = [line.split()[0] for line in done.stdout.splitlines() if "formula" in line]
    assert chips == ["1,024", "4,096"] and "What breaks first: " in done.stdout
    assert (place / "weak.png").read_bytes().startswith(b"\x89PNG")
