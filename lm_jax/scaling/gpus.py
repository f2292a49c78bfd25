"""Which GPUs each process takes, of those that several on a machine see."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lm_jax.errors import UserError

# By these somebody has told jax itself.
_SAID = ("JAX_LOCAL_DEVICE_IDS", "JAX_CUDA_VISIBLE_DEVICES")
Gpu = TypeVar("Gpu")


def visible(variables: Mapping[str, str]) -> list[str]:
    """The GPUs that a process of an environment may use, as CUDA numbers them."""
    if variables.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return []
    said = variables.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return [gpu for gpu in said.split(",") if gpu and gpu != "-1"]
    return [str(n) for n, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def dealt(gpus: Sequence[Gpu], which: int, many: int) -> Sequence[Gpu]:
    """The share of one of many processes, which all have as many.

    Raises:
        UserError: they can't, as a batch must be.
    """
    if len(gpus) % many:
        fit = ", ".join(str(n) for n in range(1, len(gpus) + 1) if len(gpus) % n == 0)
        raise UserError(
            f"{many} processes of one machine can't have as many of the {len(gpus)} "
            f"GPUs each. Numbers that can: {fit}. JAX_PLATFORMS=cpu leaves GPUs out."
        )
    return gpus[which::many]


def own_gpus(local: tuple[int, int], variables: Mapping[str, str]) -> list[int] | None:
    """The GPUs of a process, by their places among those that it sees; None is all.

    Args:
        local: which it is of those that see the same, and how many these are.
        variables: of its environment.

    Raises:
        UserError: not all of them can have as many.
    """
    which, many = local
    seen = len(visible(variables))
    # One that sees one has its own, or has all that there is.
    if many == 1 or seen < 2 or any(variables.get(name) for name in _SAID):
        return None
    return list(dealt(range(seen), which, many))


def bound(variables: Mapping[str, str]) -> bool:
    """Whether each task of SLURM sees its own GPUs alone, as by --gpus-per-task."""
    on_node = variables.get("SLURM_GPUS_ON_NODE", "")
    return (
        bool(variables.get("SLURM_GPUS_PER_TASK"))
        or "gpu" in variables.get("SLURM_TRES_PER_TASK", "")
        or (on_node.isdigit() and len(visible(variables)) < int(on_node))
    )
