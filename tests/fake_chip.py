"""Devices that aren't here, for meshes that are only arranged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """A device of one of several slices, as much of it as a mesh asks for."""

    id: int
    slice_index: int
    platform: str = "gpu"
    device_kind: str = "made up"
    process_index: int = 0
    coords: tuple[int, ...] = ()
    core_on_chip: int = 0
