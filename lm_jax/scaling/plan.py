"""What a step needs of each device, as its compiler says, before there is a device."""

import math
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from lm_jax.compiler import compiled
from lm_jax.errors import UserError
from lm_jax.kernels import attention_gpu, attention_tpu, experts
from lm_jax.kernels.placement import HOST
from lm_jax.scaling.cost import Cost, count
from lm_jax.scaling.hlo import Array
from lm_jax.scaling.links import Links
from lm_jax.scaling.topology import Topology
from lm_jax.selectors import parted
from lm_jax.training.compiled import Compiled
from lm_jax.training.memory import is_out_of_memory
from lm_jax.training.resolved import Setup

PCIE = "PCIe"


class Traffic(NamedTuple):
    """What a device exchanges by one kind of collective along some axes of the mesh.

    Attributes:
        kind: of collective.
        axis: of the mesh; several with "+" between them.
        link: that carries it: "ICI fsdp", or "DCN" between slices.
        calls: how many.
        size: bytes of the whole arrays.
        sent: bytes that a device sends of them, at the least.
        seconds: that this takes, at the least; 0 where no figures are known.
    """

    kind: str
    axis: str
    link: str
    calls: int
    size: float
    sent: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """One step on some devices; all figures are of one device.

    Attributes:
        topology: the devices.
        links: between them.
        arguments: bytes of the state, the batch and the seed.
        temporaries: bytes beside them that the step needs at once.
        model_flops: operations by the model's own count, for the share of a device.
        gradients: bytes of those of all parameters, on all devices of a slice: in the
            type to compute in, as often as they are taken.
        tokens: of a step, on all devices.
        cost: what the compiled program does.
        host: bytes of all that in the host's memory, which are none of the device's.
        notes: what the compiler or a kernel had to say.
    """

    topology: Topology
    links: Links
    arguments: int
    temporaries: int
    model_flops: float
    gradients: int
    tokens: int
    cost: Cost
    host: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse figures that can't be.

        Raises:
            ArithmeticError: a step would be faster than its chips.
        """
        if self.utilization > 1:
            kernels = ", ".join(self.cost.uncounted)
            why = f" Nothing is counted of {kernels}." if kernels else ""
            raise ArithmeticError(
                f"{self.topology.called}: an MFU of {self.utilization:.0%}. More than "
                "all of the peak can't be: operations of the compiled step are missing "
                f"from the count, or the model counts too many.{why}"
            )

    @property
    def memory(self) -> int:
        """Bytes that a device holds."""
        return self.arguments + self.temporaries

    @property
    def fits(self) -> bool:
        """Whether it holds as much; true where its size isn't known."""
        chip = self.topology.chip
        return chip is None or self.memory <= chip.usable

    def traffic(self) -> list[Traffic]:
        """Collectives by kind and axis of the mesh, those that send most first."""
        calls: Counter[tuple[str, str, str]] = Counter()
        sums: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0] * 3)
        for route, size in self.cost.sizes.items():
            sent = self.links.sent(route, size)
            axis, link = self.links.along(route.group), self.links.link(route.group)
            name = route.kind, axis, link
            calls[name] += self.cost.collectives[route]
            more = size, sent, sent / self.links.rate(route)
            sums[name] = [a + b for a, b in zip(sums[name], more, strict=True)]
        found = [Traffic(*name, calls[name], *sums[name]) for name in calls]
        return sorted(found, key=lambda each: (-each.sent, each.kind, each.axis))

    def seconds(self) -> dict[str, float]:
        """What each part of a chip needs at the least; none where no figures are known.

        Returns:
            Seconds by "compute", "memory" and the links that are used, each were it
            alone.
        """
        chip = self.topology.chip
        if chip is None:
            return {}
        found = {
            "compute": self.cost.passes / chip.flops,
            "memory": self.cost.bytes / chip.bandwidth,
        }
        for each in self.traffic():
            found[each.link] = found.get(each.link, 0.0) + each.seconds
        return found | ({PCIE: self.fetching} if self.cost.host else {})

    @property
    def fetching(self) -> float:
        """Seconds that arrays go between device and host, one after the other."""
        chip = self.topology.chip
        return 0.0 if chip is None else self.cost.host / chip.host

    @property
    def sending(self) -> float:
        """Seconds that a device sends, over one link after the other."""
        return sum((each.seconds for each in self.traffic()), self.fetching)

    @property
    def step(self) -> float:
        """Seconds of a step at the least, if nothing is sent while others compute."""
        return self.cost.seconds + self.sending

    @property
    def overlapped(self) -> float:
        """Seconds of a step at the least, if all is sent while others compute."""
        return max(self.cost.seconds, self.sending)

    @property
    def binds(self) -> str:
        """What needs most of a step's seconds; empty where no figures are known."""
        alone = self.seconds()
        return max(alone, key=lambda part: alone[part]) if alone else ""

    @property
    def utilization(self) -> float:
        """MFU: the model's own operations by those that the chip could do meanwhile.

        Causal attention counts at half (Chowdhery et al. 2022, appendix B, with what
        no token sees left out); what is computed twice counts once.
        """
        chip = self.topology.chip
        if chip is None or not self.step:
            return 0.0
        return self.model_flops / (self.step * chip.flops)


class TooLarge(Exception):
    """A step doesn't fit into a device's memory: the compiler says so, or the state."""


class NotCompiled(Exception):
    """A step's compiler fails, for another reason than memory."""


def plan(setup: Setup, topology: Topology) -> Plan:
    """Compile a step for some devices, and count what it does.

    Nothing is allocated or run. Of batches of several shapes, the longest is compiled.

    Args:
        setup: for the devices of the topology.
        topology: the devices.

    Raises:
        TooLarge, NotCompiled: with what the compiler says of it.
        ArithmeticError: the figures can't be.
        UserError: the step can't be so; the compiler doesn't know an option.
    """
    shape, state = setup.order.shapes[-1], setup.placed_shapes()
    chip, platform = topology.chip, topology.devices[0].platform
    if chip is not None and _held(state) > chip.usable:
        raise TooLarge(f"the state alone is {_held(state) / 2**30:.1f} GiB a device")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        traced = Compiled(setup).traced(setup, shape)
        named = "cuda" if platform == "gpu" else platform
        try:
            made = compiled(traced.lower(lowering_platforms=(named,)))
        except UserError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise TooLarge(_why(error)) from error
            said = " ".join(str(error).split())[:_WORDS]
            raise NotCompiled(f"{type(error).__name__}: {said}") from error
    memory = made.memory_analysis()
    per_token = setup.units.flops / setup.units.tokens
    used = memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Plan(
        topology=topology,
        links=Links.of(setup.mesh, topology.chip, topology.slices),
        arguments=memory.argument_size_in_bytes,
        temporaries=used - memory.alias_size_in_bytes,
        model_flops=shape.rows * shape.length * per_token / setup.mesh.size,
        gradients=_gradients(setup),
        tokens=shape.rows * shape.length,
        cost=count(made.as_text(), topology.chip, _kernel(setup)),
        host=memory.host_argument_size_in_bytes + memory.host_temp_size_in_bytes,
        notes=tuple(dict.fromkeys(str(warning.message) for warning in warned)),
    )


def _held(arrays: Any) -> int:
    """Bytes of a tree's arrays that one device holds in its own memory."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(arrays)
        if leaf.sharding.memory_kind != HOST
    )


def _gradients(setup: Setup) -> int:
    """Bytes of gradients that slices sum with each other; see `Plan`."""
    trained = parted(setup.placed_shapes().params, setup.frozen)[1]
    numbers = sum(leaf.size for leaf in jax.tree.leaves(trained))
    wide = getattr(setup.model, "dtype", "float32") != "bfloat16"
    return (4 if wide else 2) * numbers * setup.experiment.execution.accumulate


def _kernel(setup: Setup):
    """Operations of kernels: causal attention's at half, as the model counts it."""
    share = 0.5 if setup.model.causal else 1.0

    def of(name: str, operands: list[Array]) -> float | None:
        # Masks, and where blocks of them stand, are whole numbers.
        floating = [a for a in operands if re.match(r"bf|f\d", a.kind)]
        shapes = [array.dims for array in floating]
        for seen in (attention_tpu.flops, attention_gpu.flops):
            if (found := seen(name, shapes)) is not None:
                return share * found
        return experts.flops(name, shapes)

    return of


_WORDS = 200  # letters of a message that may go on for pages


def _why(error: Exception) -> str:
    """The part of a compiler's long message that tells how much is missing."""
    said = " ".join(str(error).split())
    found = re.search(r"total memory .*?\(.*?\).*?\(.*?\)|Used \S+ of \S+ hbm", said)
    return found[0] if found else said[:_WORDS]
