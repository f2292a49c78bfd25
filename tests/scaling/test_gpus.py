"""Which GPUs each of several processes of a machine takes."""

import pytest

from lm_jax.errors import UserError
from lm_jax.scaling.gpus import own_gpus
from lm_jax.scaling.place import place_of
from tests.scaling.test_place import SAID, SLURM, TORCHRUN

ALL = {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
WORKER = TORCHRUN | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
TASK = SLURM | {"SLURM_LOCALID": "1", "SLURM_NODEID": "1"}


def task(tasks, **more):
    return TASK | {"SLURM_STEP_TASKS_PER_NODE": tasks} | more


@pytest.mark.parametrize(
    ("variables", "local"),
    [
        (WORKER, (1, 4)),
        (TORCHRUN, (0, 1)),
        (WORKER | {"LOCAL_RANK": "4"}, (0, 1)),
        (task("2(x2)"), (1, 2)),
        (task("1,3"), (1, 3)),
        (task("4,2(x3),1", SLURM_NODEID="3"), (1, 2)),
        (task("4"), (0, 1)),
        (task("two"), (0, 1)),
        (SLURM, (0, 1)),
        # It has started torchrun, whose workers these are.
        (task("1(x4)") | WORKER, (1, 4)),
    ],
)
def test_a_scheduler_says_which_of_its_machine_a_process_is(variables, local):
    assert place_of({}, variables).local == local


def test_a_scheduler_of_other_processes_says_nothing_of_these():
    assert place_of(SAID, WORKER).local == (0, 1)
    said = {"--processes": "8", "--process": "5", "--coordinator": "far:1"}
    assert place_of(said, WORKER).local == (1, 4)


def test_all_gpus_of_a_machine_are_taken_once():
    def taken(many):
        return [own_gpus((which, many), ALL) for which in range(many)]

    assert taken(4) == [[0], [1], [2], [3]] and taken(2) == [[0, 2], [1, 3]]
    assert taken(1) == [None]


@pytest.mark.parametrize(
    "variables",
    [
        {"CUDA_VISIBLE_DEVICES": "3"},  # its own alone, as jax numbers them 0
        {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "4"},
        ALL | {"SLURM_GPUS_PER_TASK": "4"},
        ALL | {"SLURM_TRES_PER_TASK": "cpu=2,gres/gpu=4"},
        ALL | {"JAX_PLATFORMS": "cpu"},
        ALL | {"JAX_LOCAL_DEVICE_IDS": "2"},
        ALL | {"JAX_CUDA_VISIBLE_DEVICES": "2"},
        {"CUDA_VISIBLE_DEVICES": ""},
    ],
)
def test_a_process_that_has_its_own_is_told_of_none(variables):
    place = place_of({}, task("2(x2)", **variables))
    assert own_gpus(place.local, variables) is None


def test_slurm_binds_its_own_tasks_and_no_worker_of_torchrun():
    """Of a torchrun that has half of the GPUs of a machine, each worker has a part."""
    inside = WORKER | ALL | {"SLURM_GPUS_PER_TASK": "4", "SLURM_GPUS_ON_NODE": "8"}
    assert own_gpus(place_of({}, inside).local, inside) == [1]


def test_gpus_that_not_all_can_have_alike_are_refused():
    with pytest.raises(UserError, match=r"3 processes of one machine .* the 4 GPUs"):
        own_gpus((0, 3), ALL)
