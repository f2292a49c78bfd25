"""As many keys and values as queries, two, or one.

Run:     ./launch.sh sweep experiments/ablations/heads.py
Expect:  3 seeds, nats/char at matched parameters: 1.9019 with four, 1.9132 with two
         (+0.011, all seeds the same way), 1.9141 with one (+0.012); too few seeds for
         a verdict (experiments/results/ablation_heads.md). 9 runs, 3 to 4 minutes
         each on one core
Source:  Ainslie et al. 2023 (grouped); Shazeer 2019 (one)
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import MLP, Learned, Transformer
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

# A wider feed-forward layer takes the parameters that fewer keys and values leave.
model = experiment.model
variants = {
    "grouped": replace(
        experiment, model=model.clone(kv_heads=2, feedforward=MLP(ratio=4.5))
    ),
    "one": replace(
        experiment, model=model.clone(kv_heads=1, feedforward=MLP(ratio=4.75))
    ),
}
study = Study(measure="loss", seeds=3)
