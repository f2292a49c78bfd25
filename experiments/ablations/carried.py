"""What an LSTM gains by going on, in training, where the batch before ended.

Run:     ./launch.sh sweep experiments/ablations/carried.py
Expect:  8 seeds, nats/char: 1.779 carried (sd 0.017), 1.806 in windows (0.014): worse,
         +0.027 (0.010 to 0.044), p 0.016 by permutation
         (experiments/results/ablation_carried.md). 16 runs, 75 seconds each on one
         core
Source:  Mikolov et al. 2010 (carrying the state). Both variants see the same batches
         and are scored alike, with the state carried over the whole split
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import CarriedStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import LSTM, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = Experiment(
    data=CarriedStream(Corpus("tinyshakespeare"), Characters(), context=32),
    model=Recurrent(LSTM(), layers=1, width=256, embedding_width=64),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=5e-3, warmup="50 steps"),
    batch=24,
    budget="1000 steps",
    evaluations={"likelihood": Likelihood("500 steps")},
)
variants = {
    "windows": replace(experiment, data=replace(experiment.data, carried=False))
}
study = Study(measure="loss", seeds=8, smallest=0.01)
