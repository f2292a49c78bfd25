"""Sweeps as they lie on a disk, without any training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from lm_jax.ablation import Study
from lm_jax.ablation.plan import make_plan
from lm_jax.ablation.plan_file import claim_plan
from lm_jax.experiment import digest, load, save
from lm_jax.runs.code import own_code
from lm_jax.runs.metrics import MetricsLog, append_sample

START = {
    "command": "python -m lm_jax sweep tiny.py",
    "cpu": "EPYC <2>",
    "cores": 2,
    "devices": ["cpu", "cpu"],
    "versions": {"jax": "0.12.0"},
    "variables": {},
}


def tiny():
    """The experiment of tiny.py, and a wider one."""
    experiment = load("tiny.py").experiment
    model = experiment.model
    return {
        "base": experiment,
        "wide": replace(experiment, model=model.clone(width=32)),
    }


def made(experiments=None, study=Study(), folder="runs/tiny", steps=12):
    """Write a sweep whose runs have ended; give its plan.

    The second variant is 0.2 worse than the first, and does half the work in a step.
    """
    plan = make_plan(experiments or tiny(), Path(folder), study)
    claim_plan(plan)
    for cell in plan.cells:
        begin(cell, steps)
        end(cell, steps)
    return plan


def begin(cell, steps):
    """Write what a run has that was trained, and hasn't ended."""
    cell.run.mkdir(parents=True)
    for name, content in save(cell.experiment).items():
        (cell.run / name).write_bytes(content)
    (cell.run / "data.json").write_text('{"text": "t", "digest": "d"}')
    start = START | {"code": own_code()}
    (cell.run / "environment.json").write_text(json.dumps([start]))
    drawn = np.random.default_rng([cell.seed, len(cell.variant)])
    log = MetricsLog(cell.run / "metrics.jsonl")
    for step in range(1, steps + 1):
        loss = 2 + 2 / step + 0.01 * drawn.normal()
        log.write(step, {"loss": loss, "grad_norm": 1.0, "learning_rate": 1e-3 / step})
        if step % max(1, steps // 4) == 0:
            log.write(step, {"validation_loss": score(cell) + 1 / step})
    log.close()
    append_sample(cell.run / "samples.txt", 4, "an early one")
    append_sample(cell.run / "samples.txt", steps, f"the cat {cell.seed}")


def score(cell):
    """The loss at the end."""
    second = cell.variant != "base"
    return 2.0 + 0.01 * cell.seed + (0.2 - 0.002 * cell.seed) * second


def end(cell, steps, **changed):
    """Write the result of a run."""
    entry = {
        "evaluation": "likelihood",
        "split": "validation",
        "step": steps,
        "corpus": "text.txt",
        "policy": "windows",
        "scores": {"loss": score(cell), "bits_per_byte": score(cell)},
    }
    work = 1.0 if cell.variant == "base" else 0.5
    result = {
        "watch": "likelihood",
        "corpus": "text.txt",
        "policy": "windows",
        "recipe": digest(cell.experiment),
        "scores": [entry],
        "steps": steps,
        "tokens": 100.0 * steps,
        "parameters": 10,
        "flops": 1e6 * work * steps,
        "tokens_per_second": 200.0,
        "larger_is_better": False,
        "best": {"loss": score(cell), "step": steps},
        "seconds": 1.0,
    }
    (cell.run / "result.json").write_text(json.dumps(result | changed))
