"""The layout and the collectives of the main experiments, as they were last agreed on.

Small models of the same form, on eight virtual devices. Where a change is meant:

    python -m tests.scaling.test_golden
"""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.scaling.plan import plan
from lm_jax.scaling.topology import topologies
from lm_jax.selectors import path_name
from lm_jax.training.setup import set_up
from tests.properties import slow_but

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
SMALL = (
    "--model.layers 2 --model.width 64 --model.heads 8 --data.context 32 --batch 16 "
    "--data.tokenizer.size 256 --data.tokenizer.end None --model.dtype float32"
)
FEW_EXPERTS = "--model.feedforward.experts 4 --model.feedforward.k 2"
CASES = {
    "gpt2_124m": SMALL,
    "llama_8b": f"{SMALL} --model.kv_heads 4 --fsdp 4 --tensor 2 --accumulate 2",
    "olmoe_7b": f"{SMALL} {FEW_EXPERTS} --fsdp 8",
}


def found(name, folder):
    """The layout and the collectives of a small model like an experiment's."""
    ids = np.random.default_rng(0).integers(256, size=4096, dtype=np.uint16)
    (folder / "tokens").mkdir()
    for split in ("train", "val"):
        ids.tofile(folder / "tokens" / f"{split}.bin")
    experiment = load(str(ROOT / f"experiments/scale/{name}.py")).experiment
    args = [*CASES[name].split(), "--budget", "4000 steps"]
    experiment = override(experiment, args, "plan")
    jax.devices()
    (topology,) = topologies("cpu:8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        setup = set_up(experiment, list(topology.devices), fresh=False)
    finally:
        os.chdir(before)
    params = setup.placed_shapes().params
    layout = {
        path_name(path): f"{leaf.shape} {leaf.sharding.spec}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    collectives = [
        f"{each.kind} along {each.axis}: {each.calls} of {each.size:.0f} bytes in all"
        for each in plan(setup, topology).traffic()
    ]
    return {"jax": jax.__version__, "layout": layout, "collectives": collectives}


@pytest.mark.parametrize("name", slow_but(CASES, "olmoe_7b"))
def test_layout_and_collectives_are_those_that_were_agreed_on(name, tmp_path):
    agreed = json.loads((GOLDEN / f"{name}.json").read_text())
    now = found(name, tmp_path)
    assert now["layout"] == agreed["layout"]
    if now["jax"] != agreed["jax"]:
        pytest.skip(f"collectives are those of jax {agreed['jax']}'s compiler")
    assert now["collectives"] == agreed["collectives"]


if __name__ == "__main__":
    import tempfile

    jax.config.update("jax_num_cpu_devices", 8)
    for case in CASES:
        with tempfile.TemporaryDirectory() as place:
            said = json.dumps(found(case, Path(place)), indent=2)
        (GOLDEN / f"{case}.json").write_text(said + "\n")
