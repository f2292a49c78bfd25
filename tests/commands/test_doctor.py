import os
import re

import pytest

from lm_jax.commands import doctor
from lm_jax.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """In an empty folder, with a short measurement."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor._gflops, "__defaults__", (0.01,))
    monkeypatch.delenv("LM_JAX_DATA", raising=False)


def report(capsys) -> tuple[int, str]:
    status = doctor.main([])
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    return status, out


def line_of(out: str, subject: str) -> str:
    """What is said about a subject, with its continuation lines joined."""
    (entry,) = re.findall(rf"^\S+ +{subject} .*(?:\n +.*)*", out, re.MULTILINE)
    return " ".join(entry.split())


def test_a_machine_that_can_train(capsys, tmp_path):
    status, out = report(capsys)
    assert status == 0
    assert "Ready." in out
    assert "STOP" not in out
    for package in ("jax", "jaxlib", "flax", "optax", "orbax"):
        assert re.search(rf"{package} \d+\.\d+", line_of(out, "Packages"))
    assert list(tmp_path.iterdir()) == []  # looking leaves nothing behind


def test_rates_are_of_the_right_size(capsys):
    _, out = report(capsys)
    f32, bf16 = re.search(
        r"f32 ([\d,]+) GFLOP/s, bf16 ([\d,]+)", line_of(out, "Product")
    ).groups()
    for rate in (f32, bf16):  # one slow core to the fastest accelerator
        assert 0.1 < float(rate.replace(",", "")) < 1e7


def test_products_are_timed_by_turns(monkeypatch):
    # One after the other, a machine that is busy for a while is said to be slow at one.
    made = []
    monkeypatch.setattr(doctor, "_product", lambda _, dtype: lambda: made.append(dtype))
    assert len(doctor._gflops(1, ("float32", "bfloat16"))) == 2
    assert made[:4] == ["float32", "bfloat16"] * 2


@pytest.mark.parametrize("name", ["runs", ".lm_jax"])
def test_a_folder_that_cannot_be_written_stops(capsys, tmp_path, name):
    (tmp_path / name).write_text("a file is in the way")
    status, out = report(capsys)
    assert status == 1
    assert "Training cannot run" in out
    stops = [line for line in out.splitlines() if line.startswith("STOP")]
    assert len(stops) == 1 and name in stops[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_stops(capsys, tmp_path):
    tmp_path.chmod(0o500)
    status, out = report(capsys)
    tmp_path.chmod(0o700)
    assert status == 1
    assert "Permission denied" in line_of(out, "Runs")


def test_runs_and_caches_are_counted(capsys, tmp_path):
    for run in ("gpt/main/seed0", "gpt/main/seed1", "deeper"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "experiment.json").touch()
    for run in ("r1", "trials/a", "a/study/base/seed0", ".hidden/a"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "experiment.json").touch()
    tokens = tmp_path / ".lm_jax/tokens/abc"
    tokens.mkdir(parents=True)
    (tokens / "train").write_bytes(bytes(2_500_000))
    _, out = report(capsys)
    assert "runs/: 3 runs, and 3 beside it" in line_of(out, "Runs")
    assert "tokens 2.5 MB" in line_of(out, "Caches")


def test_one_run_is_one(capsys, tmp_path):
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/experiment.json").touch()
    assert "runs/: 1 run," in line_of(report(capsys)[1], "Runs")


def test_corpora_below_lm_jax_data_are_listed(capsys, tmp_path, monkeypatch):
    (tmp_path / "corpora/ptb").mkdir(parents=True)
    (tmp_path / "corpora/of no interest").mkdir(parents=True)
    monkeypatch.setenv("LM_JAX_DATA", "corpora")
    assert line_of(report(capsys)[1], "LM_JAX_DATA").endswith("corpora: ptb")


@pytest.mark.parametrize(
    ("place", "said"), [("nowhere", "is not a folder"), (".", "holds no known corpus")]
)
def test_lm_jax_data_without_a_corpus_is_a_note(capsys, monkeypatch, place, said):
    monkeypatch.setenv("LM_JAX_DATA", place)
    status, out = report(capsys)
    assert status == 0  # the shipped corpora do without it
    assert line_of(out, "LM_JAX_DATA").startswith(f"note LM_JAX_DATA {place} {said}")


def test_jax_that_does_not_start_stops(capsys, monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'cuda'\nmore")

    monkeypatch.setattr(doctor, "environment", fail)
    status, out = report(capsys)
    assert status == 1
    assert "Unable to initialize backend 'cuda'" in line_of(out, "jax")
    assert "Disk" in out  # the rest is still looked at
    assert "Remove .venv" not in out  # it would be made as it was


def test_missing_package_stops(capsys, monkeypatch):
    machine = doctor.environment()
    machine["versions"]["flax"] = None
    monkeypatch.setattr(doctor, "environment", lambda: machine)
    status, out = report(capsys)
    assert status == 1
    assert "flax MISSING" in line_of(out, "Packages")


def test_gpu_that_jax_does_not_use_is_told(capsys, monkeypatch):
    machine = doctor.environment() | {"backend": "cpu", "devices": ["cpu", "cpu"]}
    monkeypatch.setattr(doctor, "environment", lambda: machine)
    monkeypatch.setattr(doctor, "_has_gpu", lambda: True)
    said = line_of(report(capsys)[1], "Devices")
    assert "2 x cpu" in said
    assert "LM_JAX_EXTRAS=cuda ./launch.sh" in said


@pytest.mark.parametrize(
    ("flags", "jax", "expected"),
    [
        ("sse avx512f avx512_bf16 amx_bf16", "0.10.2", "jax before 0.12"),
        ("sse avx512f avx512_bf16 amx_bf16", "0.12.0.1", "amx_bf16: "),
        ("sse avx512f", "0.12.0", "avx512f: wide f32; bf16 is emulated"),
        ("sse", "0.12.0", "no bf16 instructions"),
    ],
)
def test_instruction_sets_are_explained(capsys, monkeypatch, flags, jax, expected):
    machine = doctor.environment()
    machine["versions"]["jax"] = jax
    monkeypatch.setattr(doctor, "environment", lambda: machine)
    monkeypatch.setattr(doctor, "_cpu_flags", lambda: set(flags.split()))
    said = line_of(report(capsys)[1], "CPU")
    assert expected in said
    assert ("note" in said) == (jax == "0.10.2")


def test_older_python_is_told_what_a_newer_one_brings(capsys, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 11, 7))
    assert "Python 3.12 and later get jax 0.12" in line_of(report(capsys)[1], "Python")


def test_arguments_are_refused():
    with pytest.raises(UserError, match="--fast"):
        doctor.main(["--fast"])
