"""What a job on machines of others asks for, and what the tasks of one do."""

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lm_jax.errors import UserError

# A process that was stopped, has saved and is to be begun again ends so: it is
# EX_TEMPFAIL of sysexits.h, and no error's.
STOPPED = 75


@dataclass(frozen=True)
class Needs:
    """What a job asks of a cluster, beside what it runs."""

    gpus: int = 0
    """GPUs of each machine; with --on."""
    slurm: str = ""
    """What else sbatch is told, without dashes: "partition=a100 time=12:00:00"."""
    image: str = "IMAGE"
    """Container image that has lm_jax; for Kubernetes."""
    tpus: str = ""
    """A slice of TPUs, as in plan: "v5e:4x4"; for Google's Kubernetes."""

    def __post_init__(self) -> None:
        """Refuse what sbatch would read otherwise, or we say ourselves."""
        if self.gpus < 0:
            raise UserError(f"--gpus {self.gpus}: give 0 or more.")
        if self.gpus and self.tpus:
            raise UserError("Give one of --gpus and --tpus: no host has both.")
        for option in self.options:
            name = option.partition("=")[0]
            if not name or name.startswith("-"):
                raise UserError(
                    f"--slurm '{option}': leave out the dashes, as in "
                    '--slurm "partition=a100 time=12:00:00".'
                )
            if name == "array":
                raise UserError(
                    "--slurm 'array': its indices are the cells of a sweep. How many "
                    "run at once is --at-once."
                )

    def without_tpus(self, machines: str) -> None:
        """Refuse a slice of TPUs where no job can ask for one.

        Raises:
            UserError: one is asked for.
        """
        if self.tpus:
            raise UserError(f"--tpus is for --on kubernetes, not for {machines}.")

    @property
    def options(self) -> list[str]:
        """What else sbatch is told, one by one.

        Raises:
            UserError: a quote is left open.
        """
        try:
            return shlex.split(self.slurm)
        except ValueError as error:
            raise UserError(f"--slurm '{self.slurm}': {error}.") from error


class Tasks(NamedTuple):
    """Tasks that each do a part of something, such as a cell of a sweep.

    Attributes:
        name: of their job, and of no other.
        words: what Python is given, before the number of a part.
        numbers: of the parts.
        log: where a task of SLURM speaks, with %a for its number.
        at_once: how many may run; None leaves it to the cluster.
    """

    name: str
    words: list[str]
    numbers: Sequence[int]
    log: Path
    at_once: int | None = None


def job_name(kind: str, folder: Path, shown: str) -> str:
    """The name of what trains in a folder, which is that of no other: a label of DNS.

    Args:
        kind: of job: "train" or "sweep".
        folder: of the run or sweep; the name is the same whenever it is sent.
        shown: of its path, what people know it by; 28 characters of it are kept, so
            that names of pods, which have an index more, are labels too (63).
    """
    place = os.fsencode(os.path.abspath(folder))
    plain = re.sub("[^a-z0-9]+", "-", shown.lower())[:28].strip("-")
    words = (kind, plain, hashlib.sha256(place).hexdigest()[:8])
    return "-".join(filter(None, words))
