"""How a Transformer knows where a token stands: six ways.

Run:     ./launch.sh sweep experiments/ablations/positions.py
         and at four times the context, which learned positions don't have:
         ./launch.sh evaluate runs/positions/rotary/seed0 --step 2000 --context 256
         of each run, then
         ./launch.sh compare runs/positions/rotary runs/positions/alibi
         --seen "disjoint windows of 256 tokens" --level 0.0125
Expect:  8 seeds, nats/char: rotary 1.7822, KERPLE 1.8078, ALiBi 1.8526, learned 1.9074,
         sinusoidal 1.9309, none 2.0501; each better or worse than learned (p 0.008, the
         least that 8 pairs can reach; experiments/results/ablation_positions.md). At
         256 tokens KERPLE 1.793, ALiBi 1.836, rotary 2.048, none 2.430, sinusoidal
         2.951 (ablation_positions_256.txt). 48 runs of 2.5 minutes on one core: two
         hours
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
