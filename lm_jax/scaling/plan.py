"""What a step needs of each device, as its compiler says, before there is a device."""

import re
import warnings
from dataclasses import dataclass

from lm_jax.kernels.attention_tpu import flops
from lm_jax.scaling.cost import Cost, count
from lm_jax.scaling.hlo import Array
from lm_jax.scaling.topology import Topology
from lm_jax.training.compiled import Compiled
from lm_jax.training.memory import is_out_of_memory
from lm_jax.training.resolved import Setup


@dataclass(frozen=True)
class Plan:
    """One step on some devices; all figures are of one device.

    Attributes:
        topology: the devices.
        arguments: bytes of the state, the batch and the seed.
        temporaries: bytes beside them that the step needs at once.
        model_flops: operations by the model's own count, for the share of a device.
        cost: what the compiled program does.
        notes: what the compiler or a kernel had to say.
    """

    topology: Topology
    arguments: int
    temporaries: int
    model_flops: float
    cost: Cost
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> int:
        """Bytes that a device holds."""
        return self.arguments + self.temporaries

    def seconds(self) -> dict[str, float]:
        """What each part of a chip needs at the least; none where no figures are known.

        Returns:
            Seconds by "compute", "memory" and "links", each were it alone.
        """
        chip = self.topology.chip
        if chip is None:
            return {}
        return {
            "compute": self.cost.passes / chip.flops,
            "memory": self.cost.bytes / chip.bandwidth,
            "links": self.cost.sent / chip.links,
        }

    @property
    def step(self) -> float:
        """Seconds of a step at the least, if nothing is sent while others compute."""
        return self.cost.seconds + self.seconds().get("links", 0.0)

    @property
    def utilization(self) -> float:
        """The model's own operations by those that the chip could do meanwhile."""
        chip = self.topology.chip
        return self.model_flops / (self.step * chip.flops) if chip else 0.0


class TooLarge(Exception):
    """The compiler found that a step doesn't fit into a device's memory."""


def plan(setup: Setup, topology: Topology) -> Plan:
    """Compile a step for some devices, and count what it does.

    Nothing is allocated or run. Of batches of several shapes, the longest is compiled.

    Args:
        setup: for the devices of the topology.
        topology: the devices.

    Raises:
        TooLarge: with what the compiler says of it.
    """
    shape = setup.order.shapes[-1]
    platform = topology.devices[0].platform
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        traced = Compiled(setup).traced(setup, shape)
        try:
            compiled = traced.lower(lowering_platforms=(platform,)).compile()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TooLarge(_why(error)) from error
    memory = compiled.memory_analysis()
    per_token = setup.units.flops / setup.units.tokens
    made = memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Plan(
        topology=topology,
        arguments=memory.argument_size_in_bytes,
        temporaries=made - memory.alias_size_in_bytes,
        model_flops=shape.rows * shape.length * per_token / setup.mesh.size,
        cost=count(compiled.as_text(), topology.chip, _kernel(setup)),
        notes=tuple(dict.fromkeys(str(warning.message) for warning in said)),
    )


def _kernel(setup: Setup):
    """Operations of attention's kernels: causal ones at half, as the model counts."""
    share = 0.5 if setup.model.causal else 1.0

    def of(name: str, operands: list[Array]) -> float | None:
        found = flops(name, [array.dims for array in operands])
        return None if found is None else share * found

    return of


def _why(error: Exception) -> str:
    """The part of a compiler's long message that tells how much is missing."""
    said = " ".join(str(error).split())
    found = re.search(r"total memory .*?\(.*?\).*?\(.*?\)|Used \S+ of \S+ hbm", said)
    return found[0] if found else said[:200]
