"""nanoGPT's loss on Tiny Shakespeare in as few seconds as possible.

Run:     ./launch.sh sweep experiments/speedrun_shakespeare.py --variants base
         ./launch.sh sweep experiments/speedrun_shakespeare.py --variants
         learned,layer_norm,no_qk_norm,old_momentum,adamw
         ./launch.sh bench speedrun    (beside PyTorch's nanoGPT, extra `bench`)
         ./launch.sh bench speedrun experiments/speedrun_shakespeare.py:minute --seeds 3
         ./launch.sh contest experiments/speedrun_shakespeare.py idea.py
Expect:  1.886 nats/char (8 seeds, deviation 0.010; better than 1.8982: p 0.006) in
         5.3 seconds of training on two Zen 4 cores (4.7 to 6.6), where nanoGPT's 2000
         steps in PyTorch take 96.4: 18 times as long (bench_speedrun.json of
         experiments/results/). Compiling and the evaluation take 2 more. And `minute`,
         3 seeds: 1.577 (0.002) in 91.3 seconds, nanoGPT's own 95.3. What each change
         gave (8 seeds; ablation_speedrun.md):

             without it                       loss    difference
             rotary positions (learned)       1.956   +0.069, worse
             RMSNorm (LayerNorm)              1.894   +0.007, inconclusive
             a norm of queries and keys       1.898   +0.011, worse
             a young momentum (0.95)          1.913   +0.027, worse
             Muon (AdamW at 1e-2)             2.025   +0.139, worse
             nanoGPT's size (`deep`, 2 seeds) 1.703   in 67 seconds on one core
Source:  nanoGPT, README, the CPU recipe: 2000 steps of 12 rows, AdamW at 1e-3, whose
         loss over the whole split is the target, 1.8982. Muon: Jordan et al. 2024

The same text, split and context of 64, and no more than 0.85M parameters.
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.contest import Contest
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Learned, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW, Muon
from lm_jax.schedules import WarmupLinear
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

TARGET = 1.8982

experiment = Experiment(
    data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=64),
    # In a few seconds many steps of a small model learn more than few of a large one.
    model=Transformer(
        layers=1, heads=4, width=64, positions=Rotary(), norm="rms", qk_norm="head"
    ),
    objective=NextToken(),
    # 450 steps are few: momentum that reaches 20 steps back is too old.
    optimizer=Muon(beta=0.85, b2=0.99, weight_decay=0.0),
    schedule=WarmupLinear(peak=2e-2, warmup="10 steps"),
    batch=16,
    budget="450 steps",
    evaluations={"likelihood": Likelihood("450 steps")},
    outputs=(),
)


def sized(layers: int, width: int, steps: int, every: int) -> Experiment:
    """The same recipe for another size, with as many steps as said."""
    return replace(
        experiment,
        model=experiment.model.clone(layers=layers, width=width),
        budget=f"{steps} steps",
        evaluations={"likelihood": Likelihood(f"{every} steps")},
    )


model, optimizer = experiment.model, experiment.optimizer
# Each takes one change back, but for the last two.
variants = {
    "learned": replace(experiment, model=model.clone(positions=Learned())),
    "layer_norm": replace(experiment, model=model.clone(norm="layer")),
    "no_qk_norm": replace(experiment, model=model.clone(qk_norm="none")),
    "old_momentum": replace(experiment, optimizer=replace(optimizer, beta=0.95)),
    "adamw": replace(
        experiment,
        optimizer=AdamW(b2=0.99, weight_decay=0.0, clip=1.0),
        schedule=WarmupLinear(peak=1e-2, warmup="10 steps"),
    ),
    # nanoGPT's own size, for as many steps.
    "deep": sized(layers=4, width=128, steps=450, every=450),
    # As low as it gets in the time of nanoGPT's 2000 steps.
    "minute": sized(layers=3, width=128, steps=1350, every=150),
}
study = Study(measure="loss", seeds=8, target=TARGET)
contest = Contest(measure="loss", reach=TARGET, parameters=850_000)
