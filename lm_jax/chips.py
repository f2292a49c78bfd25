"""What chips can do at most, by their makers' figures."""

import math
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """The figures of a chip, as they are published.

    Attributes:
        flops: products and sums of bfloat16 matrices, a second.
        memory: bytes that it has.
        taken: share of them that programs may use. Of a GPU's, jax takes three quarters
            at its start, if XLA_CLIENT_MEM_FRACTION doesn't say another share; of a
            TPU's, the compiler itself keeps back what the system needs.
        bandwidth: bytes read from its memory or written to it, a second.
        links: bytes that it sends to other chips, a second, over all its links.
        wire: what those are called.
        network: bytes that it sends over the data centre's network, a second.
        host: bytes that it reads from its host's memory, or writes to it, a second.
        axes: numbers that a topology of such chips is given by.
        wraps: an axis of so many chips, or a multiple of it, is a ring: others have two
            ends. None where a switch connects every chip with every other.
        shapes: topologies that there are.
    """

    flops: float
    memory: int
    bandwidth: float
    links: float
    wire: str
    network: float
    host: float
    axes: int
    wraps: int | None
    shapes: tuple[str, ...]
    taken: float = 1.0

    @property
    def usable(self) -> int:
        """Bytes of its memory that programs may use."""
        return int(self.memory * self.taken)

    @property
    def link(self) -> float:
        """Bytes a second from a chip to its neighbour on one side, along an axis."""
        return self.links / (2 * self.axes)

    @property
    def largest(self) -> int:
        """Chips of the largest topology."""
        return math.prod(map(int, self.shapes[-1].split("x")))


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = (
    *("2x2x1", "2x2x2", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16"),
    *("8x16x16", "16x16x16", "16x16x24"),
)
# TPUs: Google Cloud, "TPU v5e", "TPU v5p" and "TPU v6e", key specifications and
# configurations: docs.cloud.google.com/tpu/docs/{v5e,v5p,v6e}. Their figure of the
# links counts both directions. The network: 6.4 and 25.6 Tbit/s for 256 chips of v5e
# and v6e, 50 Gbit/s for one of v5p. Which axes are rings: Austin et al. 2025, "How to
# Scale Your Model", part 2: those of 16 chips, and on v5p those of cubes of 4 x 4 x 4;
# and how fast PCIe is, which is about as much on v5e and v5p.
#
# H100: NVIDIA, "H100 Tensor Core GPU", SXM5: dense products, and NVLink in one of its
# two directions; PCIe of generation 5, as well; "DGX H100": a ConnectX-7 of 400 Gbit/s
# for each GPU.
CHIPS = {
    "v5e": Chip(
        flops=197e12,
        memory=16 * GIB,
        bandwidth=819e9,
        links=400e9 / 2,
        wire="ICI",
        network=6.4e12 / 8 / 256,
        host=15e9,
        axes=2,
        wraps=16,
        shapes=_FLAT,
    ),
    "v5p": Chip(
        flops=459e12,
        memory=95 * GIB,
        bandwidth=2765e9,
        links=1200e9 / 2,
        wire="ICI",
        network=50e9 / 8,
        host=15e9,
        axes=3,
        wraps=4,
        shapes=_CUBES,
    ),
    "v6e": Chip(
        flops=918e12,
        memory=32 * GIB,
        bandwidth=1638e9,
        links=800e9 / 2,
        wire="ICI",
        network=25.6e12 / 8 / 256,
        host=32e9,
        axes=2,
        wraps=16,
        shapes=_FLAT,
    ),
    "h100": Chip(
        flops=989.4e12,
        memory=80 * 10**9,
        bandwidth=3.35e12,
        links=900e9 / 2,
        wire="NVLink",
        network=400e9 / 8,
        host=128e9 / 2,
        axes=1,
        wraps=None,
        shapes=("1", "2", "4", "8"),
        taken=0.75,
    ),
}

# What jax calls them. NVIDIA, "H100 Tensor Core GPU", "H200 Tensor Core GPU", "A100
# Tensor Core GPU", data sheets: SXM, bfloat16 without sparsity.
PEAKS = {
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v5p": CHIPS["v5p"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H200": 989.4e12,
}
"""Operations a second at most, by the kind of a device as jax names it."""
