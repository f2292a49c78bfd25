"""Does the best learning rate stay as the model is widened? muP and the standard.

Run:     ./launch.sh sweep experiments/ablations/mup.py
         ./launch.sh transfer runs/mup --out transfer.png
         ./launch.sh transfer coordinates experiments/ablations/mup.py:mup-32-16
Expect:  not run yet
Source:  Yang et al. 2022, figure 1
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Learned, MuP, Transformer, mup_rates
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

BASE = 128
WIDTHS = (32, 64, 128, 256)
RATES = (1, 2, 4, 8, 16, 32)  # thousandths


def run(kind: str, width: int, rate: int) -> Experiment:
    """A run of 400 steps, whose rate falls to zero."""
    model = Transformer(
        layers=2, heads=4, width=width, positions=Learned(), norm="layer"
    )
    optimizer = AdamW(b2=0.99, weight_decay=0.1, clip=1.0)
    if kind == "mup":
        # Heads are a quarter of the width: they widen with it.
        model = model.clone(initial=MuP(base_width=BASE, base_dim=BASE // 4))
        optimizer = replace(optimizer, rates=mup_rates(model, BASE))
    return Experiment(
        data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=64),
        model=model,
        objective=NextToken(),
        optimizer=optimizer,
        schedule=WarmupCosine(peak=rate / 1000, warmup="40 steps"),
        batch=12,
        budget="400 steps",
        evaluations={"likelihood": Likelihood("400 steps")},
    )


variants = {
    f"{kind}-{width}-{rate}": run(kind, width, rate)
    for kind in ("standard", "mup")
    for width in WIDTHS
    for rate in RATES
}
experiment = variants.pop("standard-32-1")
study = Study(measure="loss", seeds=2)
