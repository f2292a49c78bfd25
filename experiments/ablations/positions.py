"""How a Transformer knows where a token stands: six ways.

Run:     ./launch.sh sweep experiments/ablations/positions.py
Expect:  not run with its 8 seeds yet; of 3 (--seeds 3, no verdict), nats/char: rotary
         1.7796, KERPLE 1.8079, ALiBi 1.8561, learned 1.9019, sinusoidal 1.9293, none
         2.0508 (deviations 0.001 to 0.008, none 0.031;
         experiments/results/ablation_positions.md). 18 runs of 73 seconds on two
         idle cores
Source:  Haviv et al. 2022; Vaswani et al. 2017; Su et al. 2021; Press et al. 2022;
         Chi et al. 2022
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import (
    ALiBi,
    KerpleLog,
    Learned,
    NoPositions,
    Rotary,
    Sinusoidal,
    Transformer,
)
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = Experiment(
    data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=64),
    model=Transformer(layers=4, heads=4, width=128, positions=Learned(), norm="layer"),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="100 steps", final=1e-4),
    batch=12,
    budget="2000 steps",
    evaluations={"likelihood": Likelihood("500 steps")},
)

positions = {
    "none": NoPositions(),
    "sinusoidal": Sinusoidal(),
    "rotary": Rotary(),
    "alibi": ALiBi(),
    "kerple": KerpleLog(),
}
variants = {
    name: replace(experiment, model=experiment.model.clone(positions=kind))
    for name, kind in positions.items()
}
study = Study(measure="loss", seeds=8, smallest=0.01)
