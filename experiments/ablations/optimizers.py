"""Optimizers, each at its own best rate.

Run:     ./launch.sh sweep experiments/ablations/optimizers.py
Expect:  not run yet
Source:  Jordan et al. 2024 (Muon); Chen et al. 2023 (Lion); Wen et al. 2025 (that
         speedups shrink under equal tuning)
"""

from dataclasses import replace

from lm_jax.ablation import Study, log_uniform
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Learned, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD, AdamW, Lion, Muon
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = Experiment(
    data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=64),
    model=Transformer(layers=4, heads=4, width=128, positions=Learned(), norm="layer"),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="100 steps"),
    batch=12,
    budget="2000 steps",
    evaluations={"likelihood": Likelihood("500 steps")},
)

optimizers = {
    "muon": Muon(weight_decay=0.1),
    "lion": Lion(weight_decay=0.1, clip=1.0),
    "sgd": SGD(momentum=0.9, clip=1.0),
}
variants = {
    name: replace(experiment, optimizer=optimizer)
    for name, optimizer in optimizers.items()
}
# From small for Lion to large for SGD: 16 points, a factor of 1.8 apart.
study = Study(
    measure="loss",
    seeds=8,
    smallest=0.01,
    tune={"schedule.peak": log_uniform(1e-4, 1.0)},
    trials=16,
)
