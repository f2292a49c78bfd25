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
