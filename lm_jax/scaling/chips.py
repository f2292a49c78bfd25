"""What chips can do at most, by their makers' figures."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """The figures of a chip, as they are published.

    Attributes:
        flops: products and sums of bfloat16 matrices, a second.
        memory: bytes that it has.
        bandwidth: bytes read from its memory or written to it, a second.
        links: bytes that it sends to other chips, a second, over all its links.
        axes: numbers that a topology of such chips is given by.
    """

    flops: float
    memory: int
    bandwidth: float
    links: float
    axes: int


# Google Cloud, "TPU v5e", "TPU v5p" and "TPU v6e", key specifications:
# docs.cloud.google.com/tpu/docs/{v5e,v5p,v6e}. Their figure of the links counts both
# directions.
CHIPS = {
    "v5e": Chip(197e12, 16 * GIB, 819e9, 400e9 / 2, axes=2),
    "v5p": Chip(459e12, 95 * GIB, 2765e9, 1200e9 / 2, axes=3),
    "v6e": Chip(918e12, 32 * GIB, 1638e9, 800e9 / 2, axes=2),
}
