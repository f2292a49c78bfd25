"""What starts the processes of a run, here and on machines of others."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lm_jax.scaling.jobs import kubernetes, slurm, tpu
from lm_jax.scaling.launching import variables_of, words_of
from lm_jax.scaling.place import Place, place_of

RUN = Path("runs/gpt/base/seed0")
WORDS = ["train", "gpt.py", "--evaluations.sample.prompt", "it's a"]


def places(processes):
    return [Place(processes, k, "here:1") for k in range(processes)]


def test_a_command_says_its_whole_place():
    place = Place(2, 1, "here:4217", 30.0)
    words = words_of(place, WORDS)
    assert words[:4] == WORDS
    said = dict(zip(words[4::2], words[5::2], strict=True))
    assert place_of(said, {}) == place


def test_virtual_devices_are_shared_out():
    forced = "--a=1 --xla_force_host_platform_device_count=8 --b=2"
    for variables in (
        {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
        {"XLA_FLAGS": forced, "JAX_PLATFORMS": "cpu"},
    ):
        for place in places(2):
            assert variables_of(place, variables)["JAX_NUM_CPU_DEVICES"] == "4"
    assert "device_count" not in variables_of(place, variables)["XLA_FLAGS"]
    alone = variables_of(place, {"JAX_PLATFORMS": "cpu"})
    assert alone == {"JAX_NUM_CPU_DEVICES": "1"}


def test_gpus_are_dealt_out():
    variables = {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
    own = [variables_of(place, variables) for place in places(2)]
    assert own == [{"CUDA_VISIBLE_DEVICES": "4,6"}, {"CUDA_VISIBLE_DEVICES": "5,7"}]


@pytest.mark.skipif(shutil.which("bash") is None, reason="it checks a script of bash")
@pytest.mark.parametrize("write", [slurm, tpu])
def test_scripts_are_scripts(write):
    script = write(Place(4, None, "", 90.0), WORDS, RUN)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "--timeout 90" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="it runs a script of bash")
@pytest.mark.parametrize(("ended", "again"), [(False, True), (True, False)])
def test_a_slurm_job_submits_itself_until_the_run_has_ended(tmp_path, ended, again):
    run = tmp_path / "run"
    run.mkdir()
    if ended:
        (run / "result.json").write_text("{}")
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> said\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(slurm(Place(4), WORDS, run))
    subprocess.run(
        ["bash", str(tmp_path / "job.sh")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
    )
    said = (tmp_path / "said").read_text().splitlines()
    assert said[0].startswith("srun --kill-on-bad-exit=1") and "it's a" in said[0]
    assert (said[1:] == [f"sbatch {tmp_path}/job.sh"]) == again


def test_pods_are_replaced_when_they_are_gone_and_fail_together():
    spec = json.loads(kubernetes(Place(16), WORDS, RUN))["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["podReplacementPolicy"] == "Failed" and job["backoffLimit"] == 0
    assert job["completions"] == job["parallelism"] == 16
    command = job["template"]["spec"]["containers"][0]["command"][-1]
    assert '--process "$JOB_COMPLETION_INDEX" --coordinator lm-jax-train-0-0' in command
