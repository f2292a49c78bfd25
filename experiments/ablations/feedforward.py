"""What bends a feed-forward layer, at the same number of parameters.

Run:     ./launch.sh sweep experiments/ablations/feedforward.py
Expect:  8 seeds, one rate for all, nats/char: GELU 1.9074, ReLU 1.8236, squared ReLU
         1.8047, SwiGLU 1.8028, GEGLU 1.7943; each better than GELU (p 0.008, the least
         that 8 pairs can reach; experiments/results/ablation_feedforward.md). 40 runs
         of some 120 seconds on a shared core
Source:  Shazeer 2020 (gated); So et al. 2021 (squared ReLU)
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import MLP, Gated, Learned, Transformer
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

# Gated layers have three matrices in place of two: 8/3 wide as many parameters as 4.
layers = {
    "relu": MLP(activation="relu"),
    "relu2": MLP(activation="relu2"),
    "swiglu": Gated(ratio=8 / 3, activation="silu"),
    "geglu": Gated(ratio=8 / 3, activation="gelu"),
}
variants = {
    name: replace(experiment, model=experiment.model.clone(feedforward=layer))
    for name, layer in layers.items()
}
study = Study(measure="loss", seeds=8, smallest=0.01)
