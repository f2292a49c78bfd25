"""What compilers are told beside the program, by the chip: each with its figure."""

import json
import re
from collections.abc import Iterable
from typing import Any

from lm_jax.errors import UserError

Value = bool | int | float | str

# Each figure is of `plan`, of experiments/scale/llama_1b.py, with jax 0.12 and libtpu
# 0.0.52: seconds without links, and temporaries.
#
# H100 (h100:8, --fsdp 8 --accumulate 8): 1.496 s and 4.06 GiB, and 1,498 of 1,946
# collectives run while it computes. A loop over layers in pairs doesn't copy what one
# layer leaves to the next: 1.485 s, 4.16 GiB. What changes nothing isn't here: the
# scheduler that hides latency is on by itself; gathers that are put together, up to
# 1 GiB, are 666 with 474 that run meanwhile, of as many bytes. Products in parts, each
# with a part of a gather, take 1.636 s.
#
# v5e (v5e:2x2, --fsdp 4 --model.layers 4 --batch 32): 0.250 s and 2.42 GiB, and 204 of
# 221 run while it computes. Without products in parts, which is
# xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000, 0.239 s and 2.37 GiB, but 52 of
# 105: what is gained there is lost in waiting, so that it isn't here.
OPTIONS: dict[str, dict[str, Value]] = {
    "NVIDIA H100 80GB HBM3": {"xla_gpu_enable_while_loop_double_buffering": True},
}
"""By the kind of a device, as jax names it."""


def options_of(kind: str, more: Iterable[str] = ()) -> dict[str, Value]:
    """The options that a step is compiled with.

    Args:
        kind: of device.
        more: "name=value", which go before those of the chip.

    Raises:
        UserError: one has no value.
    """
    found = dict(OPTIONS.get(kind, {}))
    for each in more:
        name, equals, value = each.removeprefix("--").partition("=")
        if not equals or not name:
            raise UserError(
                f"execution.compute.compiler: '{each}' is no option with a value, as "
                "in xla_tpu_enable_latency_hiding_scheduler=true."
            )
        found[name] = _typed(value)
    return found


def _typed(value: str) -> Value:
    """What jax hands over as it is: true is no word to a compiler."""
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        return value
    return found if isinstance(found, Value) else value


def compiled(lowered: Any) -> Any:
    """Compile a step that was lowered.

    Raises:
        UserError: its compiler doesn't know an option.
    """
    try:
        return lowered.compile()
    except Exception as error:
        found = re.search(r"No such compile option: '?([\w.]+)", str(error))
        if found is None:
            raise
        raise UserError(
            f"execution.compute.compiler: this compiler has no option '{found[1]}'. "
            "They change with jax, and are others for each kind of device."
        ) from error
