"""Devices to compile for, whether they are here or not: "v5e:4x4", "cpu:8"."""

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax

from lm_jax.chips import CHIPS, Chip
from lm_jax.errors import UserError, nearest
from lm_jax.platform import called, devices

CPU = "cpu"
_FORMS = "cpu:N, " + ", ".join(
    f"{name}:{'x'.join('ABC'[: chip.axes])}" for name, chip in CHIPS.items()
)


@dataclass(frozen=True)
class Topology:
    """Devices of one kind, with how they are connected.

    Attributes:
        name: as it was asked for: "v5p:2x2x1", or "cpu:8".
        devices: to compile for.
        chip: what each can do; None where no figures are known.
    """

    name: str
    devices: tuple[Any, ...]
    chip: Chip | None


def topologies(names: str) -> list[Topology]:
    """Find the devices of topologies, before jax has started.

    Args:
        names: with commas between them.

    Raises:
        UserError: one is none; libtpu is not installed; jax has fewer devices.
    """
    asked = [(name, *_parsed(name)) for name in names.split(",")]
    virtual = [math.prod(sizes) for _, kind, sizes in asked if kind == CPU]
    if virtual:
        _ask_for(max(virtual))
    if any(kind != CPU for _, kind, _ in asked):
        _find_libtpu(names)
    return [
        Topology(name, tuple(_devices(name, kind, sizes)), CHIPS.get(kind))
        for name, kind, sizes in asked
    ]


def _parsed(name: str) -> tuple[str, list[int]]:
    """The kind of device, and how many stand along each axis."""
    kind, colon, shape = name.partition(":")
    if kind != CPU and kind not in CHIPS:
        near = nearest(kind, [CPU, *CHIPS])
        raise UserError(f"--topology: '{kind}' is no kind of device.{near}")
    axes = 1 if kind == CPU else CHIPS[kind].axes
    if not colon or not re.fullmatch("x".join([r"[1-9]\d*"] * axes), shape):
        raise UserError(
            f"--topology: '{name}' has no form that its devices stand in. There is: "
            f"{_FORMS}, with a number for each letter."
        )
    return kind, [int(size) for size in shape.split("x")]


def _ask_for(count: int) -> None:
    """Let jax have so many virtual devices, unless it has started."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        return


def _find_libtpu(names: str) -> None:
    if find_spec("libtpu") is None:
        raise UserError(
            f"--topology {names}: the compiler of TPUs, libtpu, is not installed. It "
            "is the extra 'tpu', and needs no TPU: LM_JAX_EXTRAS=tpu ./launch.sh plan, "
            "or in an environment of your own pip install 'jax[tpu]'. Without it, "
            "cpu:N plans for N virtual devices."
        )
    # What was compiled for devices that aren't here can't be read back.
    jax.config.update("jax_enable_compilation_cache", False)


def _devices(name: str, kind: str, sizes: list[int]) -> list[Any]:
    if kind != CPU:
        return _of_tpu(name, sizes)
    wanted, found = sizes[0], devices()
    if len(found) < wanted or found[0].platform != CPU:
        raise UserError(
            f"--topology {name}: jax has started with {len(found)} "
            f"{found[0].platform} devices. {called()} plan, in a process of its own, "
            "asks for those that it needs."
        )
    return found[:wanted]


def _of_tpu(name: str, sizes: list[int]) -> list[Any]:
    """The chips of a topology; a host has four of them, or all that there are."""
    from jax.experimental.topologies import get_topology_desc

    host = [min(2, size) for size in sizes[:2]] + [1]
    try:
        found = get_topology_desc(name, "tpu", chips_per_host_bounds=tuple(host))
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"--topology {name}: libtpu knows no such topology ({error}). There is: "
            f"{_FORMS}; A and B are even, or 1 on a single chip."
        ) from error
    return list(found.devices)
