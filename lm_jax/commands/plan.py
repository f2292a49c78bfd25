"""What a step of an experiment needs of machines that are not here."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from lm_jax.commands.as_json import print_json
from lm_jax.commands.asked import resolve, taken
from lm_jax.commands.told import describe, mesh_of, pipeline
from lm_jax.errors import UserError, nearest
from lm_jax.experiment import Experiment, Named
from lm_jax.files import given_path
from lm_jax.models.config import Remat
from lm_jax.platform import called
from lm_jax.runs.display import Display
from lm_jax.scaling.plan import NotCompiled, TooLarge, plan
from lm_jax.scaling.side_by_side import Case, as_json, meshes, rows, table
from lm_jax.scaling.topology import Topology, topologies
from lm_jax.scaling.weak import Weak, draw_weak, only_chip, weak_lines
from lm_jax.training.resolved import Setup
from lm_jax.training.setup import set_up

USAGE = """\
usage: ./launch.sh plan FILE[:VARIANT] [--topology NAMES] [--slices N]
                        [--mesh SIZES]... [--remat NAMES] [--scaling PICTURE]
                        [--json] [--FIELD VALUE]

Compiles a step of an experiment for devices that need not be here, and says
what each of them would hold, compute and send, and how fast it could be.
Nothing is trained. Of several topologies, meshes and ways to compute blocks
again, each is compiled with each, and the best stands first: what fits, then
what takes fewer seconds.

  --topology NAMES   v5e:4x4, v5p:2x2x1, v6e:8x8 (TPUs: extra 'tpu'), h100:8
                     (extra 'cuda'), cpu:8 (virtual devices); several with
                     commas between them. If not given: as many virtual devices
                     as the mesh wants.
  --slices N         N of each topology, joined by the data centre's network
  --mesh SIZES       a mesh, as in data=2,fsdp=8; may be said several times
  --remat NAMES      none, full, products, projections, offload; several with
                     commas
  --scaling PICTURE  as many rows a device on each topology as on the first, of
                     which --batch is; 1024 and 4096 chips by formula. Draws
                     what a step computes and sends into PICTURE, a PNG
  --json             all figures, as one object

  ./launch.sh plan experiments/gpt_shakespeare.py --fsdp 4
  ./launch.sh plan experiments/scale/llama_1b.py --topology v5e:4x4 \\
      --mesh fsdp=16 --mesh data=4,fsdp=4 --accumulate 4 --remat full,none
  ./launch.sh plan experiments/scale/llama_1b.py --topology v5e:4x4 \\
      --slices 2 --fsdp 16 --accumulate 2
  ./launch.sh plan experiments/scale/llama_1b.py --batch 128 \\
      --topology v5e:4x4,v5e:8x8,v5e:16x16 --mesh fsdp=-1 \\
      --scaling scaling.png
  ./launch.sh plan experiments/gpt_shakespeare.py --help    (all fields)"""

LEGEND = (
    "Memory, FLOPs, bytes and collectives are counted in the compiled program, all of "
    "one device and step. What is sent of them, seconds, MFU and tokens a second are "
    "estimated, from the chip's published figures: the least that it needs, if nothing "
    "is sent while others compute. MFU is the model's own operations, causal attention "
    "at half, by what the chip could do meanwhile."
)


class Asked(NamedTuple):
    """What a command line asks for, beside an experiment.

    Attributes:
        topology: names; None where none is said.
        slices: of each.
        meshes: as typed.
        remats: by name.
        scaling: where a picture goes; None where none is asked for.
        json: whether figures go to another program.
    """

    topology: str | None
    slices: int
    meshes: list[str]
    remats: list[Remat]
    scaling: Path | None
    json: bool


def main(args: list[str]) -> int:
    """Run the command."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.replace("./launch.sh", called()))
        return 0 if args else 2
    asked, args = _asked(args)
    named, *_ = resolve(args, "plan")
    if not named.experiment.in_steps:
        raise UserError(
            f"{args[0]} is fitted by one pass that counts: no step to plan."
        )
    ways = _ways(named.experiment, asked)
    if asked.scaling is not None and len(ways) > 1:
        raise UserError(
            "--scaling follows one way to compute a step from few chips to many: give "
            "one --mesh and one --remat."
        )
    found = topologies(asked.topology or _virtual(ways), asked.slices)
    if asked.scaling is not None:
        only_chip(found)
    display = Display(0, sys.stderr if asked.json else None)
    setups = list(_set_up(ways, found, asked.scaling is not None, display))
    display.close()
    cases = [_planned(setup, topology) for topology, setup in setups]
    if asked.scaling is not None:
        return _say_scaling(named, cases, asked, display)
    cases.sort(key=lambda case: case.rank)
    if asked.json:
        print_json({"experiment": named.name, "variant": named.variant} | _json(cases))
    else:
        shown = [row for row in describe(setups[0][1]) if row[0] in ("model", "step")]
        staged = dict.fromkeys(row for _, setup in setups for row in pipeline(setup))
        display.header(f"{named.name}, {named.variant}", [*shown, *staged])
        _say(cases, display)
    return int(any(case.failed for case in cases))


def _asked(args: list[str]) -> tuple[Asked, list[str]]:
    """Take what is no field out of the arguments."""
    topology, args = taken("--topology", args, "names of topologies, as in v5e:4x4,")
    slices, args = taken("--slices", args, "how many slices there are,")
    if slices is not None and not (slices.isdigit() and int(slices)):
        raise UserError(f"--slices takes how many there are, not '{slices}'.")
    picture, args = taken("--scaling", args, "the path of a picture, as in s.png,")
    remats, args = taken("--remat", args, f"some of {', '.join(get_args(Remat))}")
    sizes: list[str] = []
    while True:
        mesh, args = taken("--mesh", args, "a mesh, as in data=2,fsdp=8,", often=True)
        if mesh is None:
            break
        sizes.append(mesh)
    asked = Asked(
        topology,
        int(slices or 1),
        sizes,
        [_remat(name) for name in remats.split(",")] if remats else [],
        given_path(picture, "--scaling") if picture else None,
        "--json" in args,
    )
    return asked, [arg for arg in args if arg != "--json"]


def _remat(name: str) -> Any:
    if name not in get_args(Remat):
        raise UserError(f"--remat: '{name}' is none.{nearest(name, get_args(Remat))}")
    return name


def _ways(experiment: Any, asked: Asked) -> list[Experiment]:
    """The experiment, computed in each way that is asked for."""
    execution = experiment.execution
    return [
        replace(
            experiment,
            execution=replace(
                execution,
                sharding=sharding,
                compute=replace(execution.compute, remat=remat),
            ),
        )
        for sharding in meshes(asked.meshes, execution.sharding)
        for remat in asked.remats or [execution.compute.remat]
    ]


def _virtual(ways: list[Experiment]) -> str:
    """As many devices of the CPU as the meshes want."""
    return f"cpu:{max(each.execution.sharding.least for each in ways)}"


def _set_up(
    ways: list[Experiment], found: list[Topology], weak: bool, display: Display
) -> Iterator[tuple[Topology, Setup]]:
    """Check each way on each topology, before anything is compiled.

    Args:
        ways: to compute the experiment.
        found: the topologies.
        weak: whether a batch grows with the devices.
        display: says how far it is.
    """
    for topology in found:
        devices = list(topology.devices)
        for experiment in ways:
            changed = experiment
            if weak:
                more = len(devices) / len(found[0].devices)
                changed = replace(experiment, batch=_grown(experiment.batch, more))
            setup = set_up(changed, devices, progress=display.work, fresh=False)
            yield topology, setup


def _grown(batch: int | str, more: float) -> int:
    """So many times the rows of a batch."""
    if isinstance(batch, str):
        raise UserError(
            f"--scaling: a batch of '{batch}' can't be said for each device. Give rows "
            "(--batch 128)."
        )
    return round(batch * more)


def _planned(setup: Setup, topology: Topology) -> Case:
    """Compile a case, and say meanwhile which it is."""
    remat = setup.experiment.execution.compute.remat
    case = Case(topology.called, mesh_of(setup), remat)
    said = f"compiling for {case.topology}, {case.mesh}, remat {remat}"
    try:
        with Display(0, sys.stderr).waiting(said):
            return replace(case, plan=plan(setup, topology))
    except TooLarge as error:
        return replace(case, why=str(error))
    except (NotCompiled, ArithmeticError) as error:
        return replace(case, failed=str(error))


def _json(cases: list[Case]) -> dict[str, Any]:
    return {"plans": [as_json(case) for case in cases]}


def _say(cases: list[Case], display: Display) -> None:
    """Print a table of several cases, and all of the best, or of the only one."""
    if len(cases) > 1:
        display.message("\n".join(f" {line}" for line in table(cases)))
        _say_missing(cases, display)
    best = cases[0]
    title = f"{best.topology}, {best.mesh}"
    if best.failed:
        display.header(title, [("failed", best.failed)])
    elif best.plan is None:
        display.header(title, [("memory", f"too large: {best.why}")])
    else:
        display.header(title, rows(best.plan))
    display.message(LEGEND)


def _say_missing(cases: list[Case], display: Display) -> None:
    """Say why cases have no figures."""
    for case in cases:
        named = f"{case.topology}, {case.mesh}, {case.remat}"
        if case.failed:
            display.message(f"{named}: failed ({case.failed})")
        elif case.why:
            display.message(f"{named}: too large ({case.why}).")


def _say_scaling(
    named: Named, cases: list[Case], asked: Asked, display: Display
) -> int:
    """Print and draw what a step computes and sends as devices are added."""
    made, out = [case.plan for case in cases if case.plan is not None], asked.scaling
    assert out is not None
    if not made:
        said = cases[0].failed or f"too large: {cases[0].why}"
        raise UserError(f"--scaling: no topology has a plan ({said}).")
    found = Weak.of(made)
    draw_weak(found, out)
    if asked.json:
        points = [point._asdict() for point in found.points]
        print_json({"points": points, "breaks": found.breaks(), "picture": out})
    else:
        title = f"{named.name}, {named.variant}"
        display.message("\n".join([title, *weak_lines(found)]))
        display.message(f"Picture: {out}")
    _say_missing(cases, display)
    return int(any(case.failed for case in cases))
