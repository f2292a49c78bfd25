"""Jobs of Kubernetes: manifests as JSON, which kubectl takes, for a run and a sweep."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

from lm_jax.chips import CHIPS
from lm_jax.errors import UserError, nearest
from lm_jax.runs.directory import STOPPED as RUN_STOPPED
from lm_jax.scaling.needs import STOPPED, Needs, Tasks, job_name
from lm_jax.scaling.place import PORT, Place

# Of a pod that is moved away; its process saves in the time that it is given.
_MOVED = [{"type": "DisruptionTarget", "status": "True"}]
_GRACE = 180  # seconds
_VOLUME = Path("/runs")  # where every pod sees the claim "runs"


def kubernetes(place: Place, words: list[str], run: Path, needs: Needs) -> str:
    """A JobSet, of a name and an address that no other run has: one pod a process.

    A pod that failed ends its job, which the JobSet then begins anew as a whole; none
    is replaced before it is gone, because two would be one process.

    Raises:
        UserError: the run isn't on the volume: what it saves would go with its pods.
    """
    if not run.is_relative_to(_VOLUME):
        there = _VOLUME.joinpath(*(p for p in run.parts if p not in ("/", "runs")))
        raise UserError(
            f"--on kubernetes: pods keep what they write below {_VOLUME}, and {run} "
            f"would be lost with them. Give --run {shlex.quote(str(there))}."
        )
    name = job_name("train", run, str(run.relative_to(_VOLUME)))
    many = place.processes
    begin = f"{name}-train-0-0.{name}:{PORT}"
    command = f"python -m lm_jax {shlex.join(words)} --timeout {place.timeout:g}"
    told = f'--processes {many} --process "$JOB_COMPLETION_INDEX" --coordinator {begin}'
    job = {
        "parallelism": many,
        "completions": many,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": _MOVED},
                {"action": "FailJob", "onExitCodes": _codes()},
            ]
        },
        "template": {"spec": _pod(_until_ended(f"{command} {told}", run), needs, many)},
    }
    moved = {
        "name": "moved",
        "action": "RestartJobSetAndIgnoreMaxRestarts",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    spec = {
        "failurePolicy": {"maxRestarts": 10, "rules": [moved]},
        "network": {"enableDNSHostnames": True, "subdomain": name},
        "replicatedJobs": [{"name": "train", "replicas": 1, "template": {"spec": job}}],
    }
    return _manifest("jobset.x-k8s.io/v1alpha2", "JobSet", name, spec)


def kubernetes_array(tasks: Tasks, needs: Needs) -> str:
    """An indexed Job that does tasks, each with these needs: one index a task.

    One that failed doesn't end the others, which backoffLimit 0 would do: its own
    index has failed (Kubernetes 1.29 or later). One that was moved away comes again.
    What they say is the cluster's to keep.
    """
    numbers, most = tasks.numbers, tasks.at_once or len(tasks.numbers)
    chosen = f'set -- {" ".join(map(str, numbers))}; shift "$JOB_COMPLETION_INDEX"'
    task = f'python {shlex.join(tasks.words)} "$1"'
    spec = {
        "completions": len(numbers),
        "parallelism": min(most, len(numbers)),
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": _MOVED},
                {"action": "Ignore", "onExitCodes": _codes()},
            ]
        },
        "template": {"spec": _pod(f"{chosen}; exec {task}", needs)},
    }
    return _manifest("batch/v1", "Job", tasks.name, spec)


def _codes() -> dict[str, Any]:
    """Of a process that was stopped, after it has saved or before it could."""
    return {"containerName": "train", "operator": "In", "values": [STOPPED, 143]}


def _until_ended(command: str, run: Path) -> str:
    """A command in a shell that hands on SIGTERM, and tells a run that isn't through.

    A process that was stopped ends with 0, which a Job would take for its end.
    """
    stopped = shlex.quote(str(run / RUN_STOPPED))
    return f"""\
{command} & child=$!
trap 'kill -TERM $child' TERM
wait $child; status=$?
while [ $status -gt 128 ] && kill -0 $child 2>/dev/null; do
  wait $child; status=$?
done
[ "$JOB_COMPLETION_INDEX" != 0 ] || [ $status -ne 0 ] || [ ! -e {stopped} ] ||
  status={STOPPED}
exit $status"""


def _pod(script: str, needs: Needs, pods: int = 1) -> dict[str, Any]:
    """What one of so many pods is, that share what is needed."""
    container: dict[str, Any] = {
        "name": "train",
        "image": needs.image,
        "command": ["sh", "-c", script],
        "ports": [{"containerPort": PORT}],
        "volumeMounts": [{"name": "runs", "mountPath": str(_VOLUME)}],
    }
    if needs.gpus:
        container["resources"] = {"limits": {"nvidia.com/gpu": needs.gpus}}
    chosen = {}
    if needs.tpus:
        chips, labels = _of_slice(needs.tpus, pods)
        container["resources"] = {"limits": {"google.com/tpu": chips}}
        chosen = {"nodeSelector": labels}
    return chosen | {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE,
        "containers": [container],
        "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}],
    }


# As Google's Kubernetes calls them (cloud.google.com/kubernetes-engine/docs, "Plan TPUs
# in GKE"): hosts of a slice have four chips; one alone may have one, four or eight.
_TPUS = {"v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}


def _of_slice(tpus: str, pods: int) -> tuple[int, dict[str, str]]:
    """How many chips each pod has of a slice, and the labels of its hosts.

    Raises:
        UserError: there is no such slice, or its hosts are more or fewer than the pods.
    """
    kind, _, shape = tpus.partition(":")
    if kind not in _TPUS or shape not in CHIPS[kind].shapes:
        there = [f"{k}:{each}" for k in _TPUS for each in CHIPS[k].shapes]
        raise UserError(f"--tpus {tpus}: there is no such slice.{nearest(tpus, there)}")
    chips = math.prod(map(int, shape.split("x")))
    alone = (1, 4, 8) if kind != "v5p" else (4,)
    hosts = {1} if chips in alone else set()
    hosts |= {chips // 4} if chips % 4 == 0 else set()
    if pods not in hosts:
        fit = " or ".join(map(str, sorted(hosts)))
        raise UserError(
            f"--tpus {tpus}: its {chips} chips are those of {fit} hosts, each with a "
            f"process of its own: give --processes {min(hosts)}."
        )
    labels = {"accelerator": _TPUS[kind], "topology": shape}
    return chips // pods, {
        f"cloud.google.com/gke-tpu-{name}": label for name, label in labels.items()
    }


def _manifest(version: str, kind: str, name: str, spec: dict[str, Any]) -> str:
    metadata = {"name": name}
    whole = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    return json.dumps(whole, indent=2) + "\n"
