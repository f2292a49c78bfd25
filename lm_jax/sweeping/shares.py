"""The share of the machine that each of several workers has, all of the same size."""

import functools
import os
from dataclasses import dataclass, field

from lm_jax.errors import UserError
from lm_jax.platform import devices as all_devices

_RESERVE = "XLA_PYTHON_CLIENT_PREALLOCATE"


@dataclass(frozen=True)
class Share:
    """What a worker computes on.

    Attributes:
        cores: that it may use; () leaves them to the system.
        devices: how many of jax's.
        variables: of its environment.
    """

    cores: tuple[int, ...]
    devices: int
    variables: dict[str, str] = field(default_factory=dict)


def shares(workers: int) -> list[Share]:
    """Divide cores or GPUs evenly; what can't be divided stays idle.

    Cells on unlike shares would differ by rounding, and in the time they take.

    Raises:
        UserError: there are fewer than workers, or none that can be divided.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: give 1 or more.")
    reserved = _hold_little()
    devices = all_devices()
    if devices[0].platform == "cpu":
        cores = _cores()
        size = _size(workers, len(cores), "cores")
        return [
            Share(cores[k * size : (k + 1) * size], len(devices))
            for k in range(workers)
        ]
    if devices[0].platform != "gpu":
        raise UserError(
            f"--workers divides cores or GPUs, and here is a {devices[0].device_kind}. "
            "Leave it out: each cell then has all devices."
        )
    size = _size(workers, len(devices), "GPUs")
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = told.split(",") if told else [str(k) for k in range(len(devices))]
    return [
        Share((), size, {"CUDA_VISIBLE_DEVICES": ",".join(own)} | reserved)
        for k in range(workers)
        for own in [names[k * size : (k + 1) * size]]
    ]


def _cores() -> tuple[int, ...]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    raise UserError(
        "--workers needs to say which cores a process may use, and this system can't. "
        "Leave it out: each cell then has all of them."
    )


def _size(workers: int, there: int, of_what: str) -> int:
    """How many each has.

    Raises:
        UserError: there are fewer than workers.
    """
    if workers > there:
        raise UserError(
            f"--workers {workers}: this process may use {there} {of_what}, and each "
            f"worker needs one of its own. Give --workers {there} or less."
        )
    return there // workers


@functools.cache
def _hold_little() -> dict[str, str]:
    """Leave the memory of GPUs to the workers: jax takes most of it where it starts.

    Returns:
        What workers are told, so that they take it.
    """
    before = os.environ.get(_RESERVE, "true")
    os.environ[_RESERVE] = "false"
    return {_RESERVE: before}
