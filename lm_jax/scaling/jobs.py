"""What starts a run on machines of others: a text for SLURM, TPU pods, Kubernetes."""

import shlex
from collections.abc import Callable
from pathlib import Path

from lm_jax.scaling.kubernetes import kubernetes
from lm_jax.scaling.needs import Needs
from lm_jax.scaling.place import PORT, Place
from lm_jax.scaling.slurm import slurm


def tpu(place: Place, words: list[str], run: Path, needs: Needs) -> str:
    """Commands for the hosts of a TPU slice: each is told its place.

    As a script they end when all have, with the status of the first that failed.
    """
    needs.without_tpus("tpu")
    told = f"--processes {place.processes} --process $K --coordinator $FIRST:{PORT}"
    words = ["python", "-m", "lm_jax", *words]
    command = f"{shlex.join(words)} --timeout {place.timeout:g} {told}"
    return f"""\
# The checkout and --run must lie where all {place.processes} hosts see them.
AT="TPU_NAME --zone=ZONE"
FIRST=$(gcloud compute tpus tpu-vm describe $AT \\
  --format='value(networkEndpoints[0].ipAddress)')
STARTED=
for K in $(seq 0 {place.processes - 1}); do
  gcloud compute tpus tpu-vm ssh $AT --worker=$K --command="{_quoted(command)}" &
  STARTED="$STARTED $!"
done
STATUS=0
for EACH in $STARTED; do
  wait $EACH || STATUS=$((STATUS ? STATUS : $?))
done
(exit $STATUS)  # of the first host that failed; a shell that reads this stays open
"""


JOBS: dict[str, Callable[[Place, list[str], Path, Needs], str]] = {
    "slurm": slurm,
    "tpu": tpu,
    "kubernetes": kubernetes,
}


def _quoted(command: str) -> str:
    """A command as it stands between double quotes, where $K and $FIRST are read."""
    return command.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
