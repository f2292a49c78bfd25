"""What must be the same in all processes of a run: before its first step, and later."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jaxlib
import numpy as np

from lm_jax.data import digest_of
from lm_jax.data.windows import Row
from lm_jax.experiment import own_source
from lm_jax.experiment.leaves import leaves
from lm_jax.runs.code import own_code
from lm_jax.selectors import path_name
from lm_jax.training.resolved import Setup

_OWN = re.compile("--xla_force_host_platform_device_count|--xla_dump_")


def beginning(setup: Setup) -> dict[str, str]:
    """What a process was started with: experiment, text, batch 0, code, compilers."""
    batch = setup.order.batch(0).items()
    own = np.frombuffer(own_source(setup.experiment) or b"", np.uint8)
    return {
        "the experiment's type": type(setup.experiment.model).__name__,
        **{leaf.name: leaf.text for leaf in leaves(setup.experiment)},
        "the experiment's own code": str(digest_of([("", own)])),
        "the text": setup.data.digest,
        "batch 0": f"{digest_of(batch):08x}",
        **compilers(),
        "the code of lm_jax": own_code()["sources"],
        "the kind of its devices": jax.local_devices()[0].device_kind,
    }


def compilers() -> dict[str, str]:
    """What compiles the programs of this process, and what it is told.

    Of flags, those count that can make another program: not how many devices a CPU is,
    which each process may have its share of, nor where programs are written.
    """
    found = {"jax": jax.__version__, "jaxlib": jaxlib.__version__}
    with suppress(PackageNotFoundError):
        found["libtpu"] = version("libtpu")
    for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"):
        flags = [f for f in os.environ.get(name, "").split() if not _OWN.match(f)]
        # The last of one name counts, whatever stands between.
        flags.sort(key=lambda flag: flag.partition("=")[0])
        found[name] = " ".join(flags) or "none"
    return found


def first_values(params: Any, programs: list[str]) -> dict[str, str]:
    """What the first step is made of: the compiled programs, and the parameters.

    Args:
        params: arrays, of which each process has some parts: those that several have
            are compared.
        programs: digests of the step, of each shape of a batch.
    """
    steps = {f"the step of shape {k}": each for k, each in enumerate(programs)}
    return steps | dict(_parts(params))


def later_values(batch: Row, params: Any, step: int) -> dict[str, str]:
    """What a process has after some steps: the last batch, and its parameters.

    Rows that only one process reads leave the parameters alike in all, were they wrong:
    so each makes the whole of a batch.

    Args:
        batch: the last, whole.
        params: arrays, of which each process has some parts. Few values name them,
            however many there are; of devices with the same parts, one counts.
        step: how many steps are made.
    """
    held: dict[Any, list[tuple[str, Any]]] = {}
    for path, array in jax.tree.leaves_with_path(params):
        for shard in array.addressable_shards:
            name = f"{path_name(path)} {_part(shard, array.shape)}"
            held.setdefault(shard.device, []).append((name, shard.data))
    found = {f"batch {step - 1}": f"{digest_of(batch.items()):08x}"}
    for parts in held.values():
        which = digest_of((name, np.empty(0)) for name, _ in parts)
        if (name := f"the parameters, part {which:08x}") not in found:
            found[name] = f"{digest_of((n, np.asarray(a)) for n, a in parts):08x}"
    return found


def _parts(params: Any) -> Iterator[tuple[str, str]]:
    for path, array in jax.tree.leaves_with_path(params):
        for shard in array.addressable_shards:
            name = f"{path_name(path)} {_part(shard, array.shape)}"
            yield name, f"{digest_of([('', np.asarray(shard.data))]):08x}"


def _part(shard: Any, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Where along each axis of an array a shard of it begins and ends."""
    axes = zip(shard.index, shape, strict=True)
    return [index.indices(size)[:2] for index, size in axes]
