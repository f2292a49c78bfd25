"""A recurrent language model of movie reviews, for classifiers to begin with.

Run:     ./launch.sh train experiments/lstm_imdb.py
Expect:  validation perplexity 107.8 of 10,000 words, 4.680 nats a word, 2.05 bits a
         byte; 44 minutes on one CPU core, one seed
Source:  Dai and Le 2015, 2.1 (a language model first); no figure is published for it
Data:    $LM_JAX_DATA/imdb (train.tsv: label, rating, number, review); the test half
         and the labels are not read
"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment
from lm_jax.models import Dropouts, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=TokenStream(
        Corpus("imdb", validation=0.02),
        Words(size=10_000, lowercase=True),
        context=64,
    ),
    model=Recurrent(layers=1, width=200, dropout=Dropouts(input=0.2, output=0.2)),
    objective=NextToken(),
    optimizer=AdamW(weight_decay=0.01, clip=1.0),
    schedule=WarmupCosine(peak=3e-3, warmup="200 steps", final=1e-4),
    batch=32,
    budget="2 epochs",
    evaluations={
        "likelihood": Likelihood("1000 steps"),
        "sample": Sample(prompt="this movie is", length=40),
    },
)
