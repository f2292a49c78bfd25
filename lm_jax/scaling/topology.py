"""Devices to compile for, whether they are here or not: "v5e:4x4", "cpu:8"."""

import math
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax

from lm_jax.chips import CHIPS, Chip
from lm_jax.errors import UserError, nearest
from lm_jax.platform import called, devices, from_extra
from lm_jax.scaling.h100 import TARGET

CPU, GPU = "cpu", "h100"
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
        slices: of so many such topologies, connected by the data centre's network.
    """

    name: str
    devices: tuple[Any, ...]
    chip: Chip | None
    slices: int = 1

    @property
    def called(self) -> str:
        """Its name, with how many slices there are of it."""
        return self.name if self.slices == 1 else f"{self.slices} x {self.name}"


def topologies(names: str, slices: int = 1) -> list[Topology]:
    """Find the devices of topologies, before jax has started.

    Args:
        names: with commas between them.
        slices: how many there are of each.

    Raises:
        UserError: one is none; what compiles for it is not installed; jax has fewer
            devices.
    """
    asked = [(name, *_parsed(name)) for name in names.split(",")]
    virtual = [math.prod(sizes) for _, kind, sizes in asked if kind == CPU]
    others = [name for name, kind, _ in asked if kind in (CPU, GPU)]
    if slices > 1 and others:
        raise UserError(f"--slices {slices}: {others[0]} is no slice of TPUs.")
    if virtual:
        _ask_for(max(virtual))
    _find_compilers(names, {kind for _, kind, _ in asked})
    return [
        Topology(
            name, tuple(_devices(name, kind, sizes, slices)), CHIPS.get(kind), slices
        )
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


def _find_compilers(names: str, kinds: set[str]) -> None:
    """See that what compiles for kinds of devices is installed."""
    if GPU in kinds and not any(map(_is_there, _CUDA)):
        raise UserError(
            f"--topology {names}: jax's plugin for NVIDIA's GPUs is not installed. It "
            f"needs no GPU: {from_extra('cuda')}"
        )
    if kinds - {CPU, GPU} and not _is_there("libtpu"):
        raise UserError(
            f"--topology {names}: the compiler of TPUs, libtpu, is not installed. It "
            f"needs no TPU: {from_extra('tpu')} Without it, cpu:N plans for N virtual "
            "devices."
        )
    if kinds - {CPU}:
        # What was compiled for devices that aren't here can't be read back.
        jax.config.update("jax_enable_compilation_cache", False)


_CUDA = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package that it would be in
        return False


def _devices(name: str, kind: str, sizes: list[int], slices: int) -> list[Any]:
    if kind != CPU:
        return _ahead(name, kind, sizes, slices)
    wanted, found = sizes[0], devices()
    if len(found) < wanted or found[0].platform != CPU:
        raise UserError(
            f"--topology {name}: jax has started with {len(found)} "
            f"{found[0].platform} devices. {called()} plan, in a process of its own, "
            "asks for those that it needs."
        )
    return found[:wanted]


def _ahead(name: str, kind: str, sizes: list[int], slices: int) -> list[Any]:
    """The chips of a topology that isn't here."""
    from jax.experimental.topologies import get_topology_desc

    shapes = CHIPS[kind].shapes
    there = f"There is: {', '.join(f'{kind}:{shape}' for shape in shapes)}."
    if kind == GPU and str(sizes[0]) not in shapes:
        raise UserError(f"--topology {name}: one machine has no so many. {there}")
    try:
        if kind == GPU:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # whether there are any or none
            shape = {"topology": f"1x1x{sizes[0]}", "target_config": TARGET}
            found = get_topology_desc(name, "cuda", **shape)
        else:  # a host has four of them, or all that there are
            host = (*(min(2, size) for size in sizes[:2]), 1)
            several = {"num_slices": slices} if slices > 1 else {}
            found = get_topology_desc(
                name, "tpu", chips_per_host_bounds=host, **several
            )
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"--topology {name}: its compiler knows no such topology ({error}). {there}"
        ) from error
    return list(found.devices)
