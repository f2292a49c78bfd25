"""The place of a process: what is said, what a scheduler says, what is refused."""

import pytest

from lm_jax.errors import UserError
from lm_jax.processes import COMMAND
from lm_jax.scaling.place import Place, first_host, place_of
from lm_jax.scaling.pods import of_metadata

SLURM = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "node[03-06]",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_JOB_ID": "4098",
}
TORCHRUN = {
    "WORLD_SIZE": "8",
    "RANK": "5",
    "MASTER_ADDR": "head",
    "MASTER_PORT": "29500",
}
SEVERAL_HOSTS = TORCHRUN | {"LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1"}
POD = {"TPU_WORKER_ID": "1", "TPU_WORKER_HOSTNAMES": "t0,t1,t2,t3"}
SLICES = {
    "MEGASCALE_NUM_SLICES": "3",
    "MEGASCALE_SLICE_ID": "2",
    "MEGASCALE_COORDINATOR_ADDRESS": "s0-t0:8080",
}
SAID = {"--processes": "2", "--process": "1", "--coordinator": "far:4217"}


def test_one_process_where_nothing_is_said():
    assert place_of({}, {}) is None
    assert place_of({"--processes": "1"}, TORCHRUN) is None
    assert place_of({}, TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None


def test_a_timeout_alone_is_one_process_where_a_scheduler_has_started_one():
    """A script for SLURM says how long a wait may take, however many there are."""
    one = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}
    assert place_of({"--timeout": "600"}, SLURM | one) is None
    with pytest.raises(UserError, match="--process needs --processes N beside it"):
        place_of({"--process": "0"}, SLURM | one)


def test_a_pod_of_one_host_is_one_process():
    assert place_of({}, POD | {"TPU_WORKER_HOSTNAMES": "t0"}) is None


def test_a_number_alone_starts_all_of_them_here():
    assert place_of({"--processes": "3", "--timeout": "9"}, {}) == Place(
        3, None, "", 9.0
    )


def test_schedulers_say_it_where_nobody_does():
    place = place_of({}, TORCHRUN)
    assert (place.processes, place.process) == (8, 5)
    assert (place.host, place.port, place.source) == ("head", 29500, "torchrun")
    # torchrun may wait at its port itself.
    place = place_of({}, TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert (place.host, place.port) == ("head", 29501)
    place = place_of({}, SLURM)
    assert (place.processes, place.process, place.host) == (4, 2, "node03")
    assert place.port == 61440 + 2


def test_torchrun_inside_a_step_of_slurm_says_it():
    """srun started one torchrun a host: SLURM knows those, not their workers."""
    assert place_of({}, SLURM | TORCHRUN) == place_of({}, TORCHRUN)
    assert place_of({"--processes": "8"}, SLURM | TORCHRUN).process == 5
    half = {name: value for name, value in TORCHRUN.items() if name != "RANK"}
    assert place_of({}, SLURM | half) == place_of({}, SLURM)


def test_what_is_said_wins_over_a_scheduler():
    place = place_of(SAID | {"--timeout": "30"}, TORCHRUN)
    assert (place.processes, place.process, place.coordinator) == (2, 1, "far:4217")
    assert place.timeout == 30
    place = place_of({"--coordinator": "near:1"}, SLURM)
    assert (place.processes, place.process, place.coordinator) == (4, 2, "near:1")


def test_as_many_as_a_scheduler_has_started_are_those():
    """Else each of its four would start four."""
    assert place_of({"--processes": "4"}, SLURM) == place_of(
        {"--processes": "4", "--process": "2"}, SLURM
    )
    assert place_of({"--processes": "2"}, SLURM) == Place(2)


@pytest.mark.parametrize("variables", [POD, POD | SLICES])
def test_a_pod_says_what_jax_finds_in_it(variables, monkeypatch):
    """A stand-in for the variables of GKE, and for the metadata of a TPU VM."""
    from jax._src.clusters import cloud_tpu_cluster as cloud

    slices = "".join(f"{n}: '{v}'\n" for n, v in SLICES.items() if n in variables)
    metadata = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "a:0:t0,a:1:t1,a:2:t2,a:3:t3",
        "tpu-env": f"ZONE: 'z'\n{slices}",
    }
    monkeypatch.setattr(cloud, "get_metadata", lambda key: (metadata[key], 200))
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    assert of_metadata({}) == {}  # no TPU is here
    monkeypatch.setattr(cloud, "running_in_cloud_tpu_vm", True)
    assert of_metadata({}) == variables and of_metadata(variables) == {}

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cloud.BaseTpuCluster, "wait_for_coordinator", lambda *_: None)
    theirs = cloud.GkeTpuCluster
    place = place_of({}, variables)
    assert place.processes == theirs.get_process_count()
    assert place.process == theirs.get_process_id()
    assert place.coordinator == theirs.get_coordinator_address(1, "4217")
    assert place.source == "the TPU pod" and place.timeout == 600
    for name in variables:
        half = {n: value for n, value in variables.items() if n != name}
        assert place_of({}, half) is None
        assert place_of(SAID, half).processes == 2


@pytest.mark.parametrize("missing", TORCHRUN)
def test_half_set_variables_of_a_scheduler_say_nothing(missing):
    half = {name: value for name, value in TORCHRUN.items() if name != missing}
    assert place_of({}, half) is None
    place = place_of(SAID, half)
    assert (place.processes, place.process, place.coordinator) == (2, 1, "far:4217")


def test_a_shell_inside_an_allocation_is_one_process():
    """SLURM sets these in the batch script too, where no step was started."""
    shell = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "a[1-4]"}
    assert place_of({}, shell) is None


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node01", "node01"),
        ("node[003-006,9],login", "node003"),
        ("a-b7,c", "a-b7"),
        ("rack[2,4]n.local", "rack2n.local"),
        ("rack[1-2]n[1-4]", "rack1n1"),
        ("r[01-02,5]c[3]n[08,10-12].x,r[3]c1", "r01c3n08.x"),
    ],
)
def test_the_first_host_of_slurm(hosts, first):
    assert first_host(hosts) == first


@pytest.mark.parametrize("hosts", ["", ",a", "a[1-2", "a[]", "a]1"])
def test_what_is_no_list_of_hosts_is_refused(hosts):
    with pytest.raises(UserError, match="is no list of hosts"):
        first_host(hosts)


@pytest.mark.parametrize(
    ("said", "variables", "message"),
    [
        ({"--process": "0"}, {}, "needs --processes N and --coordinator"),
        ({"--timeout": "5"}, {}, "--timeout needs --processes N beside it"),
        ({"--processes": "two"}, {}, "--processes two: give a whole number, 1 or more"),
        ({"--processes": "2", "--timeout": "0"}, {}, "give seconds, more than 0"),
        ({"--processes": "2", "--coordinator": "a:1"}, {}, "give --process INDEX too"),
        (SAID | {"--process": "2"}, {}, "of 2 processes the last is 1"),
        (SAID | {"--coordinator": "far"}, {}, "is no HOST:PORT"),
        (SAID | {"--coordinator": "far:99999"}, {}, "is no HOST:PORT"),
        (SAID | {"--coordinator": "127.0.0.1:4217"}, SLURM, "is this host alone"),
        (SAID | {"--coordinator": "localhost:4217"}, SLURM, "on 4 hosts"),
        (SAID | {"--coordinator": "[::1]:4217"}, SLURM, "SLURM knows it"),
        (
            {"--coordinator": "localhost:1"},
            POD,
            "the TPU pod started the processes on 4",
        ),
        ({}, SEVERAL_HOSTS | {"MASTER_ADDR": "localhost"}, "4 of 8 processes here"),
        ({}, SEVERAL_HOSTS | {"MASTER_ADDR": "127.0.0.1"}, "--master_addr"),
    ],
)
def test_what_can_be_no_place_is_refused(said, variables, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        place_of(said, variables)


@pytest.mark.parametrize("variables", [SLURM, POD, SEVERAL_HOSTS])
def test_processes_that_one_of_ours_started_meet_at_their_own_host(variables):
    """They are all here, whatever has started that one."""
    said = SAID | {"--coordinator": "127.0.0.1:4217"}
    assert place_of(said, variables | {COMMAND: "train"}).host == "127.0.0.1"


def test_torchrun_on_one_host_may_meet_there():
    """In a shell of an allocation of several too: what SLURM has there is another's."""
    here = TORCHRUN | {"LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "localhost"}
    assert place_of({}, here).host == "localhost"
    assert place_of({}, here | {"SLURM_NNODES": "4"}).host == "localhost"
