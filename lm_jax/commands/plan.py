"""What a step of an experiment needs of machines that are not here."""

import sys
from typing import Any

from lm_jax.commands.train import describe, mesh_of, resolve, taken
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment
from lm_jax.platform import called
from lm_jax.runs.display import Display
from lm_jax.scaling.plan import Plan, TooLarge, plan
from lm_jax.scaling.topology import topologies
from lm_jax.training.setup import set_up

USAGE = """\
usage: ./launch.sh plan FILE[:VARIANT] [--topology NAMES] [--FIELD VALUE]

Compiles a step of an experiment for devices that need not be here, and says
what each of them would hold, compute and send. Nothing is trained.

  --topology NAMES   v5e:4x4, v5p:2x2x1, v6e:8x8 (TPUs: extra 'tpu'), cpu:8
                     (virtual devices); several with commas between them. If not
                     given: as many virtual devices as the mesh wants.

  ./launch.sh plan experiments/gpt_shakespeare.py --fsdp 4
  ./launch.sh plan experiments/gpt_shakespeare.py \\
      --topology v5e:2x2,v5p:2x2x1 \\
      --fsdp 4 --remat full
  ./launch.sh plan experiments/gpt_shakespeare.py --help    (all fields)"""

LEGEND = (
    "Memory, FLOPs, bytes and collectives are counted in the compiled program, all of "
    "one device and step. Seconds are estimated from the chip's published figures, and "
    "are what it needs at the least."
)


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    names, args = taken("--topology", args, "names of topologies, as in v5e:4x4,")
    named, *_ = resolve(args, "plan")
    experiment: Any = named.experiment
    if not experiment.in_steps:
        raise UserError(
            f"{args[0]} is fitted by one pass that counts: no step to plan."
        )
    found = topologies(names or _virtual(experiment))
    display = Display(0)
    setups = [
        set_up(experiment, list(topology.devices), progress=display.work, fresh=False)
        for topology in found
    ]
    display.close()
    rows = [row for row in describe(setups[0]) if row[0] in ("model", "step")]
    display.header(f"{named.name}, {named.variant}", rows)
    for topology, setup in zip(found, setups, strict=True):
        title = f"{topology.name}, {mesh_of(setup)}"
        try:
            with Display(0, sys.stderr).waiting(f"compiling for {topology.name}"):
                made = plan(setup, topology)
        except TooLarge as error:
            display.header(title, [("memory", f"too large: {error}")])
        else:
            display.header(title, _rows(made))
    display.message(LEGEND)
    return 0


def _virtual(experiment: Experiment) -> str:
    """As many devices of the CPU as the mesh wants."""
    return f"cpu:{experiment.execution.sharding.least}"


def _rows(made: Plan) -> list[tuple[str, str]]:
    """The figures of a plan, as names and values."""
    cost, chip = made.cost, made.topology.chip
    room = f" of {_bytes(chip.memory)}" if chip else ""
    short = ", too large" if chip and made.memory > chip.memory else ""
    rows = [
        (
            "memory",
            f"{_bytes(made.memory)}{room}{short}: {_bytes(made.arguments)} of "
            f"arguments, {_bytes(made.temporaries)} of temporaries",
        ),
        (
            "FLOPs",
            f"{_count(cost.flops)}, {cost.flops / made.model_flops:.2f} times the "
            f"model's own {_count(made.model_flops)}",
        ),
        ("bytes", _bytes(cost.bytes)),
    ]
    for kind, calls in sorted(cost.collectives.items()):
        rows.append((kind, f"{calls:,} of {_bytes(cost.sizes[kind])} in all"))
    for name, calls in cost.uncounted.items():
        rows.append(("uncounted", f"FLOPs of {name}, {calls:,} times"))
    if chip is None:
        rows.append(("seconds", "none: no figures of this device are known"))
    else:
        rows += _seconds(made)
    return rows + [("note", note) for note in made.notes]


def _seconds(made: Plan) -> list[tuple[str, str]]:
    alone = made.seconds()
    most = max(alone, key=lambda part: alone[part])
    each = ", ".join(f"{part} {_time(value)}" for part, value in alone.items())
    return [
        (
            "seconds",
            f"{_time(made.step)}, {_time(alone['links'])} of it on links: at most "
            f"{made.utilization:.0%} of the chip's peak",
        ),
        ("each alone", f"{each}: {most} binds"),
    ]


def _scaled(value: float | int, base: int, units: str) -> str:
    """A number with the unit that leaves it 1 or more."""
    for unit in units.split(","):
        if value < base or unit == units.split(",")[-1]:
            break
        value /= base
    return f"{value:,.3g} {unit}".rstrip()


def _bytes(size: float | int) -> str:
    return _scaled(size, 1024, "B,KiB,MiB,GiB,TiB")


def _count(number: float | int) -> str:
    return _scaled(number, 1000, ",k,M,G,T,P")


def _time(seconds: float) -> str:
    return _scaled(seconds * 1e6, 1000, "us,ms,s")
