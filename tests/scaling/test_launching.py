"""What starts the processes of a run, here and on machines of others."""

import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lm_jax.commands.train import _said
from lm_jax.errors import UserError
from lm_jax.runs.directory import mark_stopped
from lm_jax.scaling.jobs import kubernetes, slurm, tpu
from lm_jax.scaling.launching import variables_of, words_of
from lm_jax.scaling.needs import STOPPED, Needs
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


def test_gpus_that_not_all_can_have_alike_are_refused():
    """One process would have none, and compute on the CPU; or a larger part."""
    for gpus, fit in (("0", "1"), ("4,5,6", "1, 3"), ("1,2,3,4", "1, 2, 4")):
        processes = 3 if gpus == "1,2,3,4" else 2
        with pytest.raises(UserError, match=rf"Numbers that can: {fit}\."):
            variables_of(Place(processes, 0), {"CUDA_VISIBLE_DEVICES": gpus})


@pytest.mark.skipif(shutil.which("bash") is None, reason="it checks a script of bash")
@pytest.mark.parametrize("write", [slurm, tpu])
def test_scripts_are_scripts(write):
    script = write(Place(4, None, "", 90.0), WORDS, RUN, Needs(gpus=2))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "--timeout 90" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="it runs a script of bash")
@pytest.mark.parametrize(
    ("ended", "state", "again"),
    [(False, "RUNNING", True), (True, "RUNNING", False), (False, "COMPLETING", False)],
)
def test_a_slurm_job_submits_itself_until_the_run_has_ended(
    tmp_path, ended, state, again
):
    """But not where scancel has ended it."""
    run = tmp_path / "run"
    run.mkdir()
    # Of a shorter end, perhaps.
    (run / "result.json").write_text("{}")
    if not ended:
        mark_stopped(run, 7)
    for name in ("srun", "sbatch", "scontrol"):
        say = f"echo JobState={state}" if name == "scontrol" else ""
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> said\n{say}\n')
        (tmp_path / name).chmod(0o755)
    needs = Needs(slurm="partition=a100 exclusive")
    (tmp_path / "job.sh").write_text(slurm(Place(4), WORDS, run, needs))
    subprocess.run(
        ["bash", str(tmp_path / "job.sh")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "5"},
        check=True,
    )
    said = (tmp_path / "said").read_text().splitlines()
    assert said[0].startswith("srun --kill-on-bad-exit=1") and "it's a" in said[0]
    assert said[1] == "scontrol show job 5"
    assert (said[2:] == [f"sbatch {tmp_path}/job.sh"]) == again
    head = (tmp_path / "job.sh").read_text()
    assert "#SBATCH --partition=a100\n#SBATCH --exclusive\n" in head


@pytest.mark.parametrize("processes", [1, 4])
def test_a_job_of_slurm_has_as_many_processes_as_were_asked_for(processes):
    """What its script says and what a step is told are read as the whole place."""
    script = slurm(Place(processes, None, "", 90.0), WORDS, RUN, Needs())
    assert f"#SBATCH --ntasks={processes}\n" in script
    (command,) = re.findall(r"-m lm_jax (.*)", script)
    said, words = _said(shlex.split(command))
    assert words == WORDS
    step = {"SLURM_STEP_NUM_TASKS": str(processes), "SLURM_PROCID": "0"}
    place = place_of(said, step | {"SLURM_STEP_NODELIST": "n[1-4]"})
    assert (place or Place()).processes == processes


def test_pods_are_replaced_when_they_are_gone_and_fail_together():
    spec = json.loads(kubernetes(Place(16), WORDS, "/runs" / RUN, Needs()))["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["podReplacementPolicy"] == "Failed" and job["backoffLimit"] == 0
    assert job["completions"] == job["parallelism"] == 16
    command = job["template"]["spec"]["containers"][0]["command"][-1]
    assert '--process "$JOB_COMPLETION_INDEX" --coordinator train-runs-gpt' in command


def test_runs_of_a_namespace_have_jobs_and_addresses_of_their_own():
    """A name is a label of DNS, also with what the name of a pod has beside it."""
    runs = [
        *("gpt/base/seed0", "gpt/base/seed1", "gpt/base-seed0", "GPT_2/base/Seed.0"),
        *("a-b/c", "a/b-c", "Ärger/ß", "ß", "long" * 30 + "/a", "long" * 30 + "/b"),
    ]
    names = []
    for run in runs:
        text = kubernetes(Place(10_000), WORDS, Path("/runs") / run, Needs())
        assert text == kubernetes(Place(10_000), WORDS, Path("/runs") / run, Needs())
        made = json.loads(text)
        name = made["metadata"]["name"]
        assert re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", name)
        assert len(f"{name}-train-0-9999-abcde") <= 63
        assert made["spec"]["network"]["subdomain"] == name
        assert f"--coordinator {name}-train-0-0.{name}:4217" in text
        names.append(name)
    assert len(set(names)) == len(runs) and "gpt-2-base-seed-0" in names[3]


@pytest.mark.parametrize(
    ("tpus", "pods", "chips", "kind"),
    [
        ("v5e:4x4", 4, 4, "tpu-v5-lite-podslice"),
        ("v5e:2x4", 1, 8, "tpu-v5-lite-podslice"),
        ("v6e:2x4", 2, 4, "tpu-v6e-slice"),
        ("v6e:1x1", 1, 1, "tpu-v6e-slice"),
        ("v5p:2x2x2", 2, 4, "tpu-v5p-slice"),
    ],
)
def test_pods_ask_for_the_hosts_of_a_slice_of_tpus(tpus, pods, chips, kind):
    text = kubernetes(Place(pods), WORDS, "/runs" / RUN, Needs(tpus=tpus))
    (job,) = json.loads(text)["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": chips}}
    topology = tpus.partition(":")[2]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": kind,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    without = json.loads(kubernetes(Place(pods), WORDS, "/runs" / RUN, Needs()))
    assert "nodeSelector" not in json.dumps(without)


@pytest.mark.parametrize(
    ("tpus", "pods", "words"),
    [
        ("v5e:4x4", 2, "16 chips are those of 4 hosts.* give --processes 4"),
        ("v6e:2x4", 8, "8 chips are those of 1 or 2 hosts.* give --processes 1"),
        ("v5p:2x2x2", 1, "8 chips are those of 2 hosts"),
        ("v5e:4x5", 5, "no such slice. Did you mean 'v5e:4x"),
        ("h100:8", 1, "no such slice"),
    ],
)
def test_a_slice_that_is_none_or_has_other_hosts_is_refused(tpus, pods, words):
    with pytest.raises(UserError, match=words):
        kubernetes(Place(pods), WORDS, "/runs" / RUN, Needs(tpus=tpus))


def test_gpus_and_tpus_are_not_asked_for_at_once():
    with pytest.raises(UserError, match="one of --gpus and --tpus"):
        Needs(gpus=2, tpus="v5e:4x4")


@pytest.mark.parametrize("write", [slurm, tpu])
def test_a_slice_is_for_kubernetes(write):
    with pytest.raises(UserError, match="--tpus is for --on kubernetes, not for"):
        write(Place(4), WORDS, RUN, Needs(tpus="v5e:4x4"))


FAKE_GCLOUD = """\
#!/bin/sh
case "$*" in
  *describe*) echo first-host; exit ;;
esac
echo "$*" >> said
case "$*" in
  *--worker=2*) exit 7 ;;
  *--worker=3*) sleep 0.2; exit 9 ;;
  *) sleep 0.3; echo ended >> said ;;
esac
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="it runs a script of bash")
@pytest.mark.parametrize(("hosts", "status"), [(2, 0), (4, 7)])
def test_a_host_of_a_tpu_pod_that_fails_is_told(tmp_path, hosts, status):
    """When all have ended, by the status of the first of them."""
    (tmp_path / "gcloud").write_text(FAKE_GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", tpu(Place(hosts), WORDS, RUN, Needs())],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.returncode == status
    said = (tmp_path / "said").read_text().splitlines()
    assert said.count("ended") == 2 and len(said) == hosts + 2
    for process in range(hosts):
        told = f"--processes {hosts} --process {process} --coordinator first-host:4217"
        assert any(told in line for line in said)


@pytest.mark.parametrize(
    ("run", "there"),
    [("runs/gpt/base/seed0", "gpt/base/seed0"), ("/home/me/x", "home/me/x")],
)
def test_a_run_that_would_be_lost_with_its_pods_is_refused(run, there):
    with pytest.raises(UserError, match=f"Give --run /runs/{there}\\."):
        kubernetes(Place(2), WORDS, Path(run), Needs())


def test_a_pod_that_was_stopped_has_not_succeeded(tmp_path, monkeypatch):
    """It hands SIGTERM on, waits for what is saved, and tells that it isn't the end."""
    monkeypatch.setattr("lm_jax.scaling.kubernetes._VOLUME", tmp_path)
    (tmp_path / "python").write_text(
        "#!/bin/sh\ntrap 'sleep 0.3; touch saved; exit 0' TERM\ntouch up\n"
        "while [ ! -e go ]; do sleep 0.05; done\n"
    )
    (tmp_path / "python").chmod(0o755)
    spec = json.loads(kubernetes(Place(2), WORDS, tmp_path / "run", Needs()))["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    command = job["template"]["spec"]["containers"][0]["command"]
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": "0"}
    pod = subprocess.Popen(command, cwd=tmp_path, env=variables)
    while not (tmp_path / "up").exists():
        assert pod.poll() is None
        time.sleep(0.02)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/result.json").touch()  # of a shorter end
    mark_stopped(tmp_path / "run", 7)
    pod.terminate()
    assert pod.wait() == STOPPED and (tmp_path / "saved").exists()
    (tmp_path / "go").touch()
    assert subprocess.run(command, cwd=tmp_path, env=variables).returncode == STOPPED
    mark_stopped(tmp_path / "run", None)
    assert subprocess.run(command, cwd=tmp_path, env=variables).returncode == 0
