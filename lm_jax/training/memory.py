"""Whether a step fits into memory: said before it is made, with what would."""

from typing import Any, NamedTuple

import jax

from lm_jax.data.order import batch_size
from lm_jax.distributed import beside
from lm_jax.errors import UserError
from lm_jax.platform import machine_memory
from lm_jax.sharding import batch_ways
from lm_jax.training.resolved import Setup


class Plan(NamedTuple):
    """What a device holds during a step, in bytes.

    Attributes:
        state: parameters and what the optimizer keeps.
        total: that, the batch and what is computed of it.
    """

    state: int
    total: int


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the host or on a device."""
    said = str(error)
    ran_out = "RESOURCE_EXHAUSTED" in said or "out of memory" in said.lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError) and ran_out
    )


def check_batch(setup: Setup) -> None:
    """Refuse a batch whose arrays alone are larger than the machine's memory.

    Raises:
        UserError: with what would fit.
    """
    batch = setup.placed_batch(setup.order.shapes[-1])
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in batch.values())
    if needed > machine_memory():
        raise UserError(
            f"{_asked(setup)} is {_size(needed)} of tokens alone, and the machine has "
            f"{_size(machine_memory())} of memory. Give a smaller --batch."
        )


def check_plan(setup: Setup, analysis: Any) -> None:
    """Refuse a step that the compiler plans more memory for than there is.

    Args:
        setup: of the run.
        analysis: of the compiled step; None where the backend makes none.

    Raises:
        UserError: with what would fit.
    """
    limit = memory_limit(setup.mesh)
    if analysis is None or limit is None:
        return
    state = analysis.argument_size_in_bytes
    made = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    plan = Plan(state, state + made - analysis.alias_size_in_bytes)
    if plan.total > limit:
        raise UserError(too_large(setup, plan, limit))


def temporary_if_large(setup: Setup, analysis: Any) -> int:
    """The bytes of a step for itself, where they are an eighth of a CPU's; else 0.

    What a step leaves on a CPU comes free a moment after its numbers are there: by
    then a step that was asked for before has begun with as much of its own.
    """
    if analysis is None or setup.mesh.devices.flat[0].platform != "cpu":
        return 0
    temporary: int = analysis.temp_size_in_bytes
    return temporary if temporary * _sharing(setup.mesh) > machine_memory() // 8 else 0


def memory_limit(mesh: Any) -> int | None:
    """The bytes that a device may use; None where it doesn't say."""
    device = mesh.local_devices[0]
    if device.platform == "cpu":  # devices of a CPU share the machine's
        return machine_memory() // _sharing(mesh)
    return (device.memory_stats() or {}).get("bytes_limit")


def _sharing(mesh: Any) -> int:
    """How many devices of a CPU have this machine's memory between them.

    Of a run on several machines, those of others have another.
    """
    return len(mesh.local_devices) * beside()


def too_large(setup: Setup, plan: Plan, limit: int) -> str:
    """Say what a step needs, what there is, and what would fit."""
    ways = batch_ways(setup.mesh)
    rows = setup.order.shapes[-1].rows // ways
    part = rows // setup.experiment.execution.accumulate
    each = max(1, (plan.total - plan.state) // max(1, part))
    fit = (limit - plan.state) // each
    need = (
        f"{_asked(setup)} needs {_size(plan.total)} of memory on each device "
        f"({_size(plan.state)} of it for the parameters and the optimizer), and there "
        f"are {_size(limit)}."
    )
    if fit < 1:
        return (
            f"{need} No batch fits: take a smaller model (--model.width, "
            "--model.layers), a shorter --data.context, or more devices (--fsdp)."
            f"{_again(setup)}"
        )
    parts = next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= fit)
    return (
        f"{need} What should fit: the same batch in parts (--accumulate {parts}), or "
        f"{_batch(setup, int(fit) * ways)}.{_again(setup)}"
    )


def ran_out(setup: Setup, error: BaseException) -> str:
    """Say what was asked for when memory ran out all the same."""
    reason = " ".join(str(error).split())[:200]
    twice = 2 * setup.experiment.execution.accumulate
    half = max(1, setup.order.shapes[-1].rows // 2)
    return (
        f"Memory ran out ({reason or type(error).__name__}). {_asked(setup)} was asked "
        f"for. Compute it in parts (--accumulate {twice}), or give a smaller batch "
        f"({_batch(setup, half)}), a shorter --data.context or a smaller model."
        f"{_again(setup)}"
    )


def _again(setup: Setup) -> str:
    """What a model with blocks can do beside, where it doesn't."""
    if getattr(setup.model, "remat", "") != "none":
        return ""
    return " Or let blocks be computed again in the backward pass (--remat full)."


def _asked(setup: Setup) -> str:
    shape = setup.order.shapes[-1]
    parts = setup.experiment.execution.accumulate
    divided = f" in {parts} parts" if parts > 1 else ""
    return f"A step of {shape.rows:,} rows of {shape.length:,} tokens{divided}"


def _batch(setup: Setup, rows: int) -> str:
    """The flag for a batch of so many rows, in the unit that was used."""
    if batch_size(setup.experiment.batch).rows is not None:
        return f"--batch {rows}"
    return f'--batch "{rows * setup.order.shapes[-1].length} tokens"'


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"
