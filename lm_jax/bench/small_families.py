"""Four families, each trained in seconds: what `bench kills` kills.

Run:     ./launch.sh bench kills
Expect:  a few seconds each; what they learn is not the point
Source:  ours
"""

from dataclasses import replace

from lm_jax.averages import MovingAverage
from lm_jax.counting import KneserNey, NGram
from lm_jax.data import CarriedStream, Noise, TokenStream, WordContexts
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.models import LSTM, Dropouts, Recurrent, Transformer, WordVectors
from lm_jax.objectives import NextToken, SkipGram
from lm_jax.optimizers import AdamW
from lm_jax.schedules import ReduceOnPlateau, WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words

poems, plays = Corpus("tangshi300"), Corpus("tinyshakespeare")
sample = Sample(prompt="春", length=20)
decoder = Experiment(
    data=TokenStream(poems, Characters(unknown=True), context=32),
    model=Transformer(layers=2, heads=2, width=32, dropout=0.1),
    objective=NextToken(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=3e-3, warmup="20 steps"),
    batch=8,
    budget="800 steps",
    evaluations={"likelihood": Likelihood("100 steps"), "sample": sample},
    average=MovingAverage(0.99),
)
variants = {
    "decoder": decoder,
    "lstm": replace(
        decoder,
        data=CarriedStream(poems, Characters(unknown=True), context=16, jitter=2),
        model=Recurrent(LSTM(), width=32, dropout=Dropouts(0.1, 0.1, 0.1, 0.1, 0.1)),
        schedule=ReduceOnPlateau(peak=3e-3),
        average=None,
    ),
    "skipgram": replace(
        decoder,
        data=WordContexts(plays, Words(size=2000), 5, targets=Noise(5, shared=32)),
        model=WordVectors(width=32),
        objective=SkipGram(),
        batch=2,
        evaluations={"likelihood": Likelihood("100 steps")},
    ),
    "ngram": CountExperiment(
        TokenStream(plays, Characters(), context=64),
        NGram(8, KneserNey()),
        evaluations={"likelihood": Likelihood(), "sample": Sample(prompt="the")},
    ),
}
experiment = decoder
