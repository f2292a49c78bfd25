"""What starts a run on machines of others: a text for SLURM, TPU pods, Kubernetes.

Nothing is sent: `train ... --dry-run --on NAME` prints it, to be read and sent.
"""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from lm_jax.scaling.place import PORT, Place

_IMAGE = "IMAGE"  # what the user has built of this checkout


def slurm(place: Place, words: list[str], run: Path) -> str:
    """A script for sbatch, that submits itself again until the run has its result.

    SLURM's own --requeue does nothing under some configurations. The steps are told a
    while before the time is up, and whenever the job is preempted: they save, and end
    with 0.
    """
    where = shlex.quote(str(run))
    return f"""\
#!/bin/bash
#SBATCH --job-name={run.parent.name or "lm_jax"}
#SBATCH --nodes={place.processes}
#SBATCH --ntasks={place.processes}
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@180
#SBATCH --open-mode=append
#SBATCH --output={run.parent.name or "lm_jax"}-%j.log
# Another number of processes a machine: --ntasks and --ntasks-per-node.
trap : TERM  # of a preemption: the steps have it too, and this script goes on
mkdir -p {where}
srun --kill-on-bad-exit=1 --output={where}/process_%t.log --open-mode=append \\
  {_command(words, place)}
status=$?
if [ $status -eq 0 ] && [ ! -e {where}/result.json ]; then
  sbatch "$0"  # it was stopped, and has saved
fi
exit $status
"""


def tpu(place: Place, words: list[str], run: Path) -> str:
    """Commands for the hosts of a TPU slice: each is told its place."""
    told = f"--processes {place.processes} --process $K --coordinator $FIRST:{PORT}"
    command = f"{_command(words, place)} {told}"
    return f"""\
# The checkout and --run must lie where all {place.processes} hosts see them.
AT="TPU_NAME --zone=ZONE"
FIRST=$(gcloud compute tpus tpu-vm describe $AT \\
  --format='value(networkEndpoints[0].ipAddress)')
for K in $(seq 0 {place.processes - 1}); do
  gcloud compute tpus tpu-vm ssh $AT --worker=$K --command="{_quoted(command)}" &
done
wait
"""


def kubernetes(place: Place, words: list[str], run: Path) -> str:
    """A JobSet, as JSON that kubectl takes: one pod a process.

    A pod that failed ends its job, which the JobSet then begins anew as a whole; none
    is replaced before it is gone, because two would be one process.
    """
    name, many = "lm-jax", place.processes
    begin = f"{name}-train-0-0.{name}:{PORT}"
    told = f'--processes {many} --process "$JOB_COMPLETION_INDEX" --coordinator {begin}'
    container = {
        "name": "train",
        "image": _IMAGE,
        "command": ["sh", "-c", f"exec {_command(words, place)} {told}"],
        "ports": [{"containerPort": PORT}],
        "volumeMounts": [{"name": "runs", "mountPath": "/runs"}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 180,
        "containers": [container],
        "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}],
    }
    job = {
        "parallelism": many,
        "completions": many,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "template": {"spec": pod},
    }
    manifest = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": {"maxRestarts": 10},
            "network": {"enableDNSHostnames": True, "subdomain": name},
            "replicatedJobs": [
                {"name": "train", "replicas": 1, "template": {"spec": job}}
            ],
        },
    }
    return json.dumps(manifest, indent=2) + "\n"


JOBS: dict[str, Callable[[Place, list[str], Path], str]] = {
    "slurm": slurm,
    "tpu": tpu,
    "kubernetes": kubernetes,
}


def _command(words: list[str], place: Place) -> str:
    timeout = f"--timeout {place.timeout:g}"
    return f"{shlex.join(['python', '-m', 'lm_jax', *words])} {timeout}"


def _quoted(command: str) -> str:
    """A command as it stands between double quotes, where $K and $FIRST are read."""
    return command.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
