"""A GPT of half the layers on Tiny Shakespeare, alone and taught by the whole one.

Run:     ./launch.sh train experiments/gpt_shakespeare.py
         ./launch.sh train experiments/distil_shakespeare.py:taught
         ./launch.sh sweep experiments/distil_shakespeare.py
Expect:  5 seeds, nats/char: taught 1.8540, alone 1.9057: better, -0.0517 (0.0435 to
         0.0599); the teacher, seed 0, has 1.9005. 10 runs, 13 minutes
         (experiments/results/distil_shakespeare.md)
Source:  Hinton et al. 2015, 2 (the loss); no figure is published for this text
Data:    the run of the first line, which the others learn from
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment
from lm_jax.models import Learned, Transformer
from lm_jax.objectives import Distil, NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

experiment = Experiment(
    data=TokenStream(Corpus("tinyshakespeare"), Characters(), context=64),
    model=Transformer(layers=2, heads=4, width=128, positions=Learned(), norm="layer"),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="100 steps", final=1e-4),
    batch=12,
    budget="2000 steps",
    evaluations={
        "likelihood": Likelihood("250 steps"),
        "sample": Sample(prompt="ROMEO:", length=200),
    },
)

teacher = "runs/gpt_shakespeare/base/seed0"
variants = {
    "taught": replace(
        experiment,
        objective=Distil(NextToken(), teacher, temperature=1.0, share=0.5),
    ),
}
study = Study(measure="loss", seeds=5)
