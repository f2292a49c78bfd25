"""OLMoE"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Compute, Execution, Experiment
from lm_jax.models import MoE, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Ids

experiment = Experiment(
    data=TokenStream(Corpus("tokens"), Ids(size=50_304, end=50_279), context=4096),
    model=Transformer(
        layers=16,
        heads=16,
        width=2048,
        positions=Rotary(),
        norm="rms",
        norm_epsilon=1e-5,
        qk_norm="width",
        feedforward=MoE(
            experts=64, k=8, ratio=0.5, activation="silu", gated=True, normalised=False
        ),
        tied=False,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=4e-4, warmup="2000 steps", final=4e-5),
    batch=1024,
    budget="5T tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
