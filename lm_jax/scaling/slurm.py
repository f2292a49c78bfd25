"""Jobs of SLURM: the script that sbatch takes, for a run and for a sweep.

It is our own text, not submitit's: that begins a job again by `scontrol requeue`, which
does nothing under some configurations, keeps SIGTERM from what it runs, which is what
a run saves at, and runs a pickle, which nobody can read before it is sent.
"""

import getpass
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.runs.directory import STOPPED as RUN_STOPPED
from lm_jax.scaling.needs import STOPPED, Needs, Tasks
from lm_jax.scaling.place import Place


def slurm(place: Place, words: list[str], run: Path, needs: Needs) -> str:
    """A script that trains a run in several processes, until it has ended."""
    where, name = shlex.quote(str(run)), run.parent.name or "lm_jax"
    options = [
        *(f"nodes={place.processes}", f"ntasks={place.processes}"),
        *("ntasks-per-node=1", f"output={name}-%j.log"),
    ]
    steps = f"""\
mkdir -p {where}
srun --kill-on-bad-exit=1 --output={where}/process_%t.log --open-mode=append \\
  {_python()} -m lm_jax {shlex.join(words)} --timeout {place.timeout:g}"""
    stopped = f"[[ $status -eq 143 || $status -eq 0 && -e {where}/{RUN_STOPPED} ]]"
    return _script(name, options, needs, steps, stopped, "$SLURM_JOB_ID", "")


def slurm_array(tasks: Tasks, needs: Needs) -> str:
    """A script that does tasks, each with these needs, as an array."""
    limit = f"%{tasks.at_once}" if tasks.at_once else ""
    options = [
        *("nodes=1", "ntasks=1", f"array={_ranges(tasks.numbers)}{limit}"),
        f"output={tasks.log}",
    ]
    steps = f"srun {_python()} {shlex.join(tasks.words)} $SLURM_ARRAY_TASK_ID"
    stopped = f"[[ $status -eq {STOPPED} || $status -eq 143 || $job == *{_PREEMPTED} ]]"
    job = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    again = "--array=$SLURM_ARRAY_TASK_ID "
    return _script(tasks.name, options, needs, steps, stopped, job, again)


_PREEMPTED = "PreemptTime=2*"  # a year, where it isn't "None"


def _script(
    name: str,
    options: list[str],
    needs: Needs,
    steps: str,
    stopped: str,
    job: str,
    again: str,
) -> str:
    """What both have: they are told a while before the time is up, and go on later.

    The steps have SIGTERM then, and when the job is preempted: they save, and end. What
    scancel ended is not begun again, nor what SLURM itself puts back into its queue.
    Each was seen on SLURM 22.05.
    """
    needs.without_tpus("slurm")
    gpus = [f"gres=gpu:{needs.gpus}"] if needs.gpus else []
    told = [f"job-name={name}", "time=01:00:00", "signal=TERM@180", "open-mode=append"]
    lines = [f"#SBATCH --{_quoted(o)}" for o in told + options + gpus + needs.options]
    head = "\n".join(lines)
    return f"""\
#!/bin/bash
{head}
trap : TERM  # of a preemption: the steps have it too, and this script goes on
{steps}
status=$?
job=$(scontrol show job {job})
if {stopped} &&
  [[ $job == *JobState=RUNNING* || $job == *{_PREEMPTED} ]]; then
  sbatch {again}"$0" && exit 0  # it was stopped, and has saved
fi
exit $status
"""


def _python() -> str:
    """This Python, as it was called: a user's random.py may be in its way."""
    return shlex.join([sys.executable, *["-P"] * sys.flags.safe_path])


def _quoted(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}={shlex.quote(value)}" if equals else name


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers as SLURM writes them: 0,2-5."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ",".join("-".join(map(str, each)) for each in found)


def check_here() -> None:
    """See that jobs can be handed to SLURM from this machine.

    Raises:
        UserError: they can't.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "--on slurm: there is no sbatch here. Call it where SLURM's commands are, "
            "or add --dry-run for the script that would be sent."
        )


def submit(script: str) -> str:
    """Hand a script to SLURM.

    Returns:
        The number of the job.

    Raises:
        UserError: SLURM doesn't take it, with what it says.
    """
    check_here()
    return _asked(["sbatch", "--parsable"], script).strip().partition(";")[0]


def in_queue(name: str) -> frozenset[int]:
    """The indices of arrays of a name that wait or run now, of this user.

    Raises:
        UserError: SLURM can't be asked.
    """
    if shutil.which("squeue") is None:
        return frozenset()
    words = ["squeue", "-h", "-r", f"--user={getpass.getuser()}", f"--name={name}"]
    found = _asked([*words, "-o", "%K"])
    return frozenset(int(word) for word in found.split() if word.isdigit())


def _asked(words: list[str], told: str = "") -> str:
    done = subprocess.run(words, input=told, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{words[0]} says: {done.stderr.strip().rstrip('.')}.")
    return done.stdout
