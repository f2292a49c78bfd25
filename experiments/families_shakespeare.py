"""One family after another on the characters of Tiny Shakespeare, at one budget.

Run:     ./launch.sh train experiments/families_shakespeare.py:lstm
         and :gru, :conv, :linear, :ngram
Expect:  validation bits per byte with seed 0: GRU 2.193, 5-grams 2.252, LSTM
         2.268, gated convolutions 2.378, linear-time mixer 2.510 (the GPT of
         nanoGPT's CPU recipe: 2.744); two to six minutes each on two CPU cores.
         Learning rates were not searched, and the GPT's is its recipe's.
Source:  none published; beside experiments/gpt_shakespeare.py: 0.8M parameters
         and 1.5M tokens of training. The n-grams are counted on the whole
         training split once.
"""

from dataclasses import replace

from lm_jax.counting import KneserNey, NGram
from lm_jax.data import CarriedStream, TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.models import (
    GRU,
    LSTM,
    GatedConv,
    GatedLinear,
    NoPositions,
    Recurrent,
    Transformer,
)
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

corpus, sample = Corpus("tinyshakespeare"), Sample(prompt="ROMEO:", length=200)
once = {"likelihood": Likelihood(), "sample": sample}
windows = TokenStream(corpus, Characters(), context=64)
experiment = Experiment(
    data=CarriedStream(corpus, Characters(), context=64),
    model=Recurrent(LSTM(), layers=2, width=220),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=5e-3, warmup="100 steps", final=1e-4),
    batch=12,
    budget="2000 steps",
    evaluations={"likelihood": Likelihood("250 steps"), "sample": sample},
)
variants = {
    "lstm": experiment,
    "gru": replace(experiment, model=Recurrent(GRU(), layers=2, width=254)),
    "conv": replace(
        experiment,
        data=windows,
        model=GatedConv(layers=6, width=128, kernel=4),
        schedule=replace(experiment.schedule, peak=3e-3),
    ),
    "linear": replace(
        experiment,
        data=windows,
        model=Transformer(
            layers=4,
            heads=4,
            width=128,
            positions=NoPositions(),
            mixer=GatedLinear(),
        ),
        schedule=replace(experiment.schedule, peak=2e-3),
    ),
    "ngram": CountExperiment(windows, NGram(5, KneserNey()), evaluations=once),
}
