"""Along which axis of the mesh devices send, over which links, and how fast."""

import math
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh

from lm_jax.chips import Chip
from lm_jax.mesh import crossing, within_slice
from lm_jax.scaling.collectives import NETWORK, Group, Route, share

DCN = "DCN"


@dataclass(frozen=True)
class Links:
    """How the devices of a mesh are connected.

    Attributes:
        axes: of the mesh, with how many devices stand along each.
        chip: what each can do; None where no figures are known.
        places: where each chip of a slice stands, in the mesh's order; None where
            that isn't known, or decides nothing.
        slices: how many there are, connected by the data centre's network. Each has a
            program of its own, whose groups count the devices of one slice alone.
    """

    axes: dict[str, int]
    chip: Chip | None
    places: np.ndarray | None = None
    slices: int = 1

    @classmethod
    def of(cls, mesh: Mesh, chip: Chip | None, slices: int = 1) -> "Links":
        """Give those of a mesh."""
        found = None
        if chip is not None and chip.wraps is not None:
            inside = tuple(within_slice(mesh.shape, slices).values())
            one = mesh.devices[tuple(map(slice, inside))]
            found = np.array([device.coords for device in one.flat])
        return cls(dict(mesh.shape), chip, found, slices)

    def along(self, group: Group) -> str:
        """Name the axes of the mesh that a group of devices stands along."""
        if group == NETWORK:
            return crossing(self.axes, self.slices)
        sizes = tuple(within_slice(self.axes, self.slices).values())
        places = np.array(np.unravel_index(list(group), sizes))
        varied = (places != places[:, :1]).any(1)
        return "+".join(axis for axis, v in zip(self.axes, varied, strict=True) if v)

    def link(self, group: Group) -> str:
        """Name what carries a group's arrays: chips' own links, or the network."""
        wire = self.chip.wire if self.chip else "links"
        return DCN if group == NETWORK else f"{wire} {self.along(group)}"

    def sent(self, route: Route, size: float | int) -> float:
        """Bytes that a device sends at the least, of arrays of so many bytes."""
        if route.group != NETWORK:
            return size * share(route.kind, len(route.group))
        if route.kind == "all-gather":  # to each of the others what is its own
            return size * (self.slices - 1)
        return size * share(route.kind, self.slices)

    def rate(self, route: Route) -> float:
        """Bytes that a device can send on a route, a second.

        Two neighbours along each axis of chips that the group stands along; one, where
        the axis is no ring: what stands at its end has no other. An array that is sent
        on by all goes both ways along one axis.
        """
        chip = self.chip
        if chip is None:
            return math.inf
        if route.group == NETWORK:
            return chip.network
        if chip.wraps is None or self.places is None:
            return chip.links
        ends, whole = self._reach(route.group), self.places.max(0) + 1
        rings = (ends == whole) & (whole % chip.wraps == 0)
        ways = int(np.where(rings, 2, 1)[ends > 1].sum())
        if route.kind == "collective-permute":
            ways = min(ways, 2)
        return max(ways, 1) * chip.link

    def _reach(self, group: Group) -> np.ndarray:
        """How many chips a group spans along each of their own axes."""
        assert self.places is not None
        places = self.places[list(group)]
        return np.array([len(np.unique(along)) for along in places.T])
