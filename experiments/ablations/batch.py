"""More tokens a step and fewer steps: batches of 12, 24 and 48 at equal tokens.

Run:     ./launch.sh sweep experiments/ablations/batch.py
Expect:  3 seeds, nats/char at equal tokens: 1.9019 in batches of 12, 1.9360 of 24
         (+0.034), 1.9999 of 48 (+0.098), all seeds the same way; too few for a verdict
         (experiments/results/ablation_batch.md). 9 runs of 2.5 to 4.3 minutes, two side
         by side (--workers 2)
Source:  McCandlish et al. 2018 (how large a batch still pays)
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

# The rate grows with the root of the batch (Malladi et al. 2022, for Adam).
variants = {
    f"batch{12 * k}": replace(
        experiment,
        batch=12 * k,
        budget=f"{2000 // k} steps",
        schedule=replace(
            experiment.schedule, peak=1e-3 * k**0.5, warmup=f"{100 // k} steps"
        ),
        evaluations={"likelihood": Likelihood(f"{500 // k} steps")},
    )
    for k in (2, 4)
}
study = Study(measure="loss", seeds=3)
