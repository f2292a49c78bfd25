"""Which of several processes this one is: said on the command line, or by a scheduler.

What is said explicitly wins; a scheduler's variables fill in what is not, and only
where all of them are there: a shell inside an allocation has a few.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from lm_jax.distributed import DEADLINE
from lm_jax.errors import UserError
from lm_jax.processes import COMMAND
from lm_jax.scaling.gpus import bound
from lm_jax.scaling.pods import HOST, PROCESS, PROCESSES, pod

FLAGS = ("--processes", "--process", "--coordinator", "--timeout")
PORT = 4217


@dataclass(frozen=True)
class Place:
    """The place of a process among those that train one run.

    Attributes:
        processes: how many there are.
        process: which of them this is, from 0; None starts all of them here.
        coordinator: HOST:PORT of process 0, where all meet.
        timeout: seconds that any wait for another process may take.
        source: where this is from, for people.
        local: which it is of those of its machine that see the same devices, from 0,
            and how many these are, where a scheduler says so.
    """

    processes: int = 1
    process: int | None = None
    coordinator: str = ""
    timeout: float = DEADLINE
    source: str = "the command line"
    local: tuple[int, int] = (0, 1)

    @property
    def host(self) -> str:
        """Of the coordinator."""
        return self.coordinator.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Of the coordinator."""
        return int(self.coordinator.rpartition(":")[2])

    def __str__(self) -> str:
        """All of it in a line."""
        return (
            f"process {self.process} of {self.processes} on {socket.gethostname()} "
            f"(pid {os.getpid()}), coordinator {self.coordinator}, timeout "
            f"{self.timeout:g} s, from {self.source}"
        )


@dataclass(frozen=True)
class _Scheduler:
    """What a scheduler calls the fields of a place."""

    name: str
    processes: str
    process: str
    hosts: str
    port: str = ""
    local: str = ""
    beside: str = ""


_TORCHRUN, _SLURM, _POD = "torchrun", "SLURM", "the TPU pod"
# "True" where torchrun itself waits at MASTER_PORT, for as long as its processes run.
_AGENT = "TORCHELASTIC_USE_AGENT_STORE"
# The inner one first: a step of SLURM may start torchrun, once on each host. SLURM's
# are those of a step: the allocation's are there in a shell too.
_SCHEDULERS = (
    _Scheduler(
        _TORCHRUN,
        *("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"),
        *("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ),
    _Scheduler(
        _SLURM,
        *("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST", ""),
        *("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
    ),
    _Scheduler(_POD, PROCESSES, PROCESS, HOST),
)


def place_of(said: Mapping[str, str], variables: Mapping[str, str]) -> Place | None:
    """Give the place of this process; None where it is the only one.

    Args:
        said: on the command line: the values of some of `FLAGS`.
        variables: of the environment.

    Raises:
        UserError: a value is none, one is missing, or they contradict each other.
    """
    variables = {**variables, **pod(variables)}
    timeout = _timeout(said.get("--timeout"))
    many = _whole("--processes", said.get("--processes"), 1)
    which = _whole("--process", said.get("--process"), 0)
    by = _scheduler(variables)
    started = 1 if by is None else int(variables[by.processes])
    # A scheduler that has started as many has started these.
    if which is None and many is not None and (many == 1 or many != started):
        if "--coordinator" in said:
            raise UserError(
                "--coordinator is of one process of several: give --process INDEX too, "
                "or leave both out to start all of them here."
            )
        return None if many == 1 else Place(many, None, "", timeout)
    filled = _filled(many, which, said.get("--coordinator"), variables, timeout)
    if filled is None:
        # A script for a scheduler says a timeout whatever the number is.
        if said and (by is None or set(said) != {"--timeout"}):
            raise UserError(
                f"{next(iter(said))} needs --processes N beside it: how many there are."
            )
        return None
    return _checked(filled, variables)


def _filled(
    many: int | None,
    which: int | None,
    coordinator: str | None,
    variables: Mapping[str, str],
    timeout: float,
) -> Place | None:
    """What was said, and what a scheduler says of the rest."""
    by = _scheduler(variables)
    if by is None:
        if many is None and which is None:
            return None
        if many is None or coordinator is None:
            raise UserError(
                f"--process {which} needs --processes N and --coordinator HOST:PORT "
                "beside it: how many there are, and where process 0 waits for them."
            )
        return Place(many, which, coordinator, timeout)
    told = int(variables[by.processes])
    if many is None and told == 1:
        return None
    alone = many is None and which is None and coordinator is None
    # It says nothing of others than those that it has started.
    local = _local(by, variables) if many in (None, told) else (0, 1)
    return Place(
        told if many is None else many,
        int(variables[by.process]) if which is None else which,
        coordinator or _coordinator(by, variables),
        timeout,
        by.name if alone else f"the command line and {by.name}",
        local,
    )


def _scheduler(variables: Mapping[str, str]) -> _Scheduler | None:
    """The scheduler that has said all that a place needs, if one has."""
    return next((by for by in _SCHEDULERS if _complete(by, variables)), None)


def _complete(by: _Scheduler, variables: Mapping[str, str]) -> bool:
    """Whether a scheduler has said all that a place needs."""
    numbers = all(variables.get(n, "").isdigit() for n in (by.processes, by.process))
    rest = [name for name in (by.hosts, by.port) if name]
    return numbers and all(variables.get(name) for name in rest)


def _local(by: _Scheduler, variables: Mapping[str, str]) -> tuple[int, int]:
    """Which a process is of its machine, and of how many, as a scheduler says."""
    own = variables.get(by.local, "")
    if not own.isdigit() or (by.name == _SLURM and bound(variables)):
        return 0, 1
    # SLURM says it of each host: "2(x3),1" is two on three hosts, and one on another.
    said = re.findall(r"(\d+)(?:\(x(\d+)\))?(?:,|$)", variables.get(by.beside, ""))
    hosts = [int(many) for many, times in said for _ in range(int(times or 1))]
    host = variables.get("SLURM_NODEID", "0") if by.name == _SLURM else "0"
    many = dict(enumerate(hosts)).get(int(host), 1) if host.isdigit() else 1
    return (int(own), many) if int(own) < many else (0, 1)


def _coordinator(by: _Scheduler, variables: Mapping[str, str]) -> str:
    if by.port:
        said = variables[by.port]
        if said.isdigit() and variables.get(_AGENT) == "True":
            said = str(int(said) + 1)
        return f"{variables[by.hosts]}:{said}"
    if by.name == _POD:
        return f"{variables[by.hosts]}:{PORT}"
    # Two jobs on one machine have two ports.
    port = 61440 + int(variables.get("SLURM_JOB_ID", "0")) % 4096
    return f"{first_host(variables[by.hosts])}:{port}"


def first_host(hosts: str) -> str:
    """The first of SLURM's list of hosts: "rack[1-2]n[03-07,9],login" has rack1n03."""
    first = re.match(r"(?:[^,\[\]]|\[\w[^\[\]]*\])+(?=,|$)", hosts)
    if first is None:
        raise UserError(f"SLURM_STEP_NODELIST={hosts} is no list of hosts.")
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])


def _checked(place: Place, variables: Mapping[str, str]) -> Place:
    """Refuse what can't be a place.

    Raises:
        UserError: naming what is wrong.
    """
    assert place.process is not None
    if place.process >= place.processes:
        raise UserError(
            f"--process {place.process}: of {place.processes} processes the last is "
            f"{place.processes - 1}."
        )
    port = place.coordinator.rpartition(":")[2]
    if not place.host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(
            f"--coordinator '{place.coordinator}' is no HOST:PORT, as in "
            f"node01:{PORT}: the host of process 0, and a port that is free there."
        )
    by = _scheduler(variables)
    # Those that a process of ours has started are on its host, whatever started that.
    if by is None or COMMAND in variables or not is_loopback(place.host):
        return place
    if elsewhere := _elsewhere(by, variables):
        knows = not is_loopback(_coordinator(by, variables).rpartition(":")[0])
        known = f", or leave it out: {by.name} knows it" if knows else ""
        own = " (torchrun's --master_addr)" if by.name == _TORCHRUN else ""
        raise UserError(
            f"The coordinator {place.coordinator} is this host alone, and {by.name} "
            f"started {elsewhere}. Give the name of the host of process 0{own}{known}."
        )
    return place


def _elsewhere(by: _Scheduler, variables: Mapping[str, str]) -> str:
    """What a scheduler has started, in words, where that is on several hosts."""
    if by.name == _TORCHRUN:
        here = variables.get("LOCAL_WORLD_SIZE", "")
        many = variables[by.processes]
        parted = here.isdigit() and int(here) < int(many)
        return f"{here} of {many} processes here" if parted else ""
    names = ("SLURM_STEP_NUM_NODES", "SLURM_NNODES")
    of_slurm = next((variables[name] for name in names if variables.get(name)), "1")
    hosts = variables[by.processes] if by.name == _POD else of_slurm
    return f"the processes on {hosts} hosts" if hosts != "1" else ""


def is_loopback(host: str) -> bool:
    """Whether a host's name means whatever host it is said on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("localhost.")


def _whole(flag: str, word: str | None, least: int) -> int | None:
    if word is None:
        return None
    if not word.isdigit() or int(word) < least:
        raise UserError(f"{flag} {word}: give a whole number, {least} or more.")
    return int(word)


def _timeout(word: str | None) -> float:
    try:
        seconds = DEADLINE if word is None else float(word)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--timeout {word}: give seconds, more than 0.")
    return seconds
