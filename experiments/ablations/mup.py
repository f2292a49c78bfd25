"""Does the best learning rate stay as the model is widened? muP and the standard.

Run:     ./launch.sh sweep experiments/ablations/mup.py
         ./launch.sh transfer runs/mup --out transfer.png
         ./launch.sh transfer coordinates experiments/ablations/mup.py:mup-64-1
Expect:  2 seeds, widths 32, 64, 128 and 256 (transfer_mup.txt and .png of
         experiments/results/): by muP the best peak is 0.0043, 0.0060, 0.0062, 0.0072,
         the loss there 2.344, 2.270, 2.218, 2.209 nats/char: the rate transfers. By
         the standard it is 0.0038, 0.0079, 0.0062, 0.0024 and 2.483, 2.306, 2.218,
         2.091: it doesn't, and the widest model, at a rate of its own, ends lower than
         by muP. 96 runs of 8 to 60 seconds: 40 minutes on one core.
         The coordinate check finds 17 of 23 changes that move with the width by the
         standard (standard-64-1), by muP four.
         Taken over from a width of 32, muP makes every width as poor as that (best
         2.34 to 2.48): its deviation of 0.02 is too small for 32
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

BASE = 128  # a width that learns well as it begins
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
