"""A Transformer of the small LSTM's parameters and tokens, on the Penn Treebank.

Run:     ./launch.sh train experiments/transformer_ptb.py
Expect:  108.5 test perplexity (one seed), in windows of 64 tokens; 50 minutes on
         one CPU core
Source:  none published; beside experiments/lstm_ptb_zaremba.py: 4.6M parameters,
         4.0M of them in the two tables of words, and 13 epochs
Data:    $LM_JAX_DATA/ptb (Mikolov's ptb.{train,valid,test}.txt.gz)
"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment
from lm_jax.models import MLP, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=TokenStream(Corpus("ptb"), Words(), context=64),
    model=Transformer(
        layers=2,
        heads=4,
        width=200,
        positions=Rotary(),
        feedforward=MLP(ratio=2.0),
        dropout=0.3,
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1),
    schedule=WarmupCosine(peak=2e-3, warmup="200 steps", final=1e-5),
    batch=16,
    budget="13 epochs",
    evaluations={
        "likelihood": Likelihood("1 epoch"),
        "sample": Sample(prompt="the company", length=40),
    },
)
variants = {}
