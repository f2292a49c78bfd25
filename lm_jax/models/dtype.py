"""The types that a model computes in, as an experiment names them."""

from collections.abc import Iterator
from typing import Literal, get_args

__all__ = ["Dtype"]

Dtype = Literal["float32", "tf32", "bfloat16"]


def array_dtype(dtype: str) -> str:
    """Give the type of a model's arrays: tf32 is how float32 ones are multiplied."""
    return "float32" if dtype == "tf32" else dtype


def dtype_problems(dtype: str) -> Iterator[str]:
    """Say why a model can't compute in a type."""
    if dtype not in get_args(Dtype):
        known = ", ".join(f"'{name}'" for name in get_args(Dtype))
        yield f"model.dtype='{dtype}' is none of {known}."
