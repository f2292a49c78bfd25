"""A ladder of GPTs on the characters of Tiny Shakespeare: 4 sizes, 4 token counts.

Run:     ./launch.sh sweep experiments/scaling_shakespeare.py --seeds 2
         ./launch.sh laws runs/scaling_shakespeare --predict 18e6 1e6
         and then the run ten times larger than the largest here, to check it:
         ./launch.sh train experiments/scaling_shakespeare.py --model.layers 8
         --model.width 432 --schedule.peak 1e-3 --schedule.final 1e-4
         --budget "1M tokens" --run runs/large
         ./launch.sh laws runs/large --check prediction.json
Expect:  a law of loss by parameters and tokens. Only the two shortest runs were
         made so far: 2.313 and 2.172 nats/char of xs at 125k and 250k tokens. The
         whole is some 6e13 FLOPs with 2 seeds: under an hour on two CPU cores, by
         estimate. No text is read twice: 1M tokens are an epoch.
Source:  the form of the law: Hoffmann et al. 2022; the sizes and rates are ours.
         Rates were not searched: each size has its own below, to be tuned by
         ./launch.sh sweep experiments/scaling_shakespeare.py --variants m-500k
         --grid schedule.peak=2e-3,4e-3,8e-3 --seeds 2 --out runs/rates
"""

from typing import NamedTuple

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters


class Size(NamedTuple):
    """A size of the ladder, and its learning rate."""

    layers: int
    width: int
    rate: float


SIZES = {  # about 58k, 190k, 610k and 1.9M parameters
    "xs": Size(2, 48, 8e-3),
    "s": Size(3, 72, 6e-3),
    "m": Size(4, 112, 4e-3),
    "l": Size(5, 176, 3e-3),
}
TOKENS = ("125k", "250k", "500k", "1M")


def rung(size: Size, tokens: str) -> Experiment:
    """A run of the ladder: its rate falls to a tenth over its own budget."""
    return Experiment(
        data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=64),
        model=Transformer(
            layers=size.layers, heads=4, width=size.width, positions=Rotary()
        ),
        objective=NextToken(),
        optimizer=AdamW(b2=0.99, weight_decay=0.1),
        schedule=WarmupCosine(size.rate, warmup="20 steps", final=size.rate / 10),
        batch=12,
        budget=f"{tokens} tokens",
        evaluations={"likelihood": Likelihood("2000 steps")},
    )


variants = {
    f"{name}-{tokens}": rung(size, tokens)
    for name, size in SIZES.items()
    for tokens in TOKENS
}
experiment = variants.pop("xs-125k")
