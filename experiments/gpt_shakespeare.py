"""GPT on the characters of Tiny Shakespeare.

Run:     ./launch.sh train experiments/gpt_shakespeare.py
Expect:  validation loss 1.902 nats/char over the whole split after 2000 steps
         (1.9005, 1.9020, 1.9032 with seeds 0, 1, 2), a minute on two CPU cores
Source:  nanoGPT, README, the CPU recipe (1.88, on 20 random batches)
"""

from dataclasses import replace

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment, Published
from lm_jax.models import Gated, Learned, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW, Muon
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
    evaluations={
        "likelihood": Likelihood("250 steps"),
        "sample": Sample(prompt="ROMEO:", length=200),
    },
    published=Published(1.88, "nanoGPT, README, CPU recipe"),
)

model = experiment.model
variants = {
    "rotary": replace(experiment, model=model.clone(positions=Rotary())),
    "swiglu": replace(experiment, model=model.clone(feedforward=Gated())),
    "bf16": replace(experiment, model=model.clone(dtype="bfloat16")),
    "muon": replace(experiment, optimizer=Muon(weight_decay=0.1)),
}
