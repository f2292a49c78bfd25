"""One table for the words that are read and those that are written, or two.

Run:     ./launch.sh sweep experiments/ablations/tying.py
Expect:  8 seeds, nats/char: 1.9074 with one table; 1.8794 with two, better (-0.028,
         -0.038 to -0.019, p 0.0078): 65 characters cost 8,320 parameters more
         (experiments/results/ablation_tying.md). 16 runs, 3 to 13 minutes each on a
         shared core
Source:  Press and Wolf 2017; Inan et al. 2017
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Learned, Transformer
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

variants = {"untied": replace(experiment, model=experiment.model.clone(tied=False))}
study = Study(measure="loss", seeds=8, smallest=0.01)
