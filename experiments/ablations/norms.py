"""Where a block normalises, and how.

Run:     ./launch.sh sweep experiments/ablations/norms.py
Expect:  8 seeds, nats/char: before, LayerNorm 1.9074; after 1.9213, worse (+0.0139,
         0.0075 to 0.0202, p 0.008); RMSNorm 1.9061, no difference larger than 0.01.
         24 runs of 145 seconds, two side by side (--workers 2):
         half an hour (experiments/results/ablation_norms.md)
Source:  Xiong et al. 2020 (before or after); Zhang and Sennrich 2019 (RMSNorm)
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

model = experiment.model
variants = {
    "post": replace(experiment, model=model.clone(norm_at="post")),
    "rms": replace(experiment, model=model.clone(norm="rms")),
}
study = Study(measure="loss", seeds=8, smallest=0.01)
