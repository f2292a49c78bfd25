"""Llama 3 8B"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Compute, Execution, Experiment
from lm_jax.models import Gated, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Ids

experiment = Experiment(
    data=TokenStream(Corpus("tokens"), Ids(size=128_256, end=128_001), context=8192),
    model=Transformer(
        layers=32,
        heads=32,
        kv_heads=8,
        width=4096,
        positions=Rotary(base=500_000.0),
        norm="rms",
        norm_epsilon=1e-5,
        feedforward=Gated(ratio=3.5),
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=3e-4, warmup="2000 steps", final=3e-5),
    batch=512,
    budget="15T tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
