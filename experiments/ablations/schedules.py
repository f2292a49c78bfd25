"""How the learning rate falls: as a cosine, late and fast, or straight.

Run:     ./launch.sh sweep experiments/ablations/schedules.py
Expect:  3 seeds, nats/char: cosine 1.9019 (sd 0.0014), WSD 1.8412 (-0.061, all seeds
         the same way), straight 1.8978 (-0.004, all seeds); too few for a verdict
         (experiments/results/ablation_schedules.md). All have one peak, tuned for
         none of them. 9 runs, 3 to 4 minutes each on one core
Source:  Hu et al. 2024 (WSD); Bergsma et al. 2025 (straight to zero)
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Learned, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine, WarmupLinear, WarmupStableDecay
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

peak = {"peak": 1e-3, "warmup": "100 steps"}
variants = {
    "wsd": replace(
        experiment, schedule=WarmupStableDecay(**peak, decay="400 steps", final=1e-4)
    ),
    "linear": replace(experiment, schedule=WarmupLinear(**peak, final=1e-4)),
}
study = Study(measure="loss", seeds=3)
