"""Runs that were never trained: what laws and transfer read of them."""

import json

import numpy as np

from lm_jax.experiment import digest, save
from lm_jax.laws.law import Law

LAW = Law(E=1.2, A=60.0, alpha=0.4, B=300.0, beta=0.45)
SIZES = (1e5, 2.5e5, 6e5, 1.5e6)
TOKENS = (1.25e5, 2.5e5, 5e5, 1e6)


def planted(noise=0.0, seed=0, law=LAW):
    """Parameters, tokens and losses of 16 runs, whose losses vary by a share."""
    parameters, tokens = np.repeat(SIZES, 4), np.tile(TOKENS, 4)
    draws = np.random.default_rng(seed).standard_normal(16)
    return parameters, tokens, law.loss(parameters, tokens) * np.exp(noise * draws)


def write_run(run, experiment, loss, parameters=1e5, tokens=1e6, **more):
    """Write the files of a run that ended."""
    run.mkdir(parents=True)
    for name, content in save(experiment).items():
        (run / name).write_bytes(content)
    rates = more.pop("rates", (0.5, 1.0, 0.1))
    rows = [{"step": k + 1, "learning_rate": rate} for k, rate in enumerate(rates)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    began = more.pop("began", "2020-01-01T00:00:00+00:00")
    (run / "environment.json").write_text(json.dumps([{"started": began}]))
    place = {"split": "validation", "corpus": "text.txt", "policy": "windows"}
    score = {"evaluation": "likelihood", "step": 100, "scores": {"loss": loss}}
    result = {
        "corpus": "text.txt",
        "text": "abc",
        "model": "Transformer",
        "policy": "windows",
        "watch": "likelihood",
        "recipe": digest(experiment),
        "steps": 100,
        "parameters": int(parameters),
        "tokens": int(tokens),
        "flops": 6.0 * parameters * tokens,
        "epochs": 1.0,
        "seconds": 1.0,
        "scores": [place | score],
    }
    (run / "result.json").write_text(json.dumps(result | more))
