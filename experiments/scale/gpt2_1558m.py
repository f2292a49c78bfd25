"""GPT-2 1.5B"""

from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Compute, Execution, Experiment
from lm_jax.models import Learned, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Ids

experiment = Experiment(
    data=TokenStream(Corpus("tokens"), Ids(), context=1024),
    model=Transformer(
        layers=48,
        heads=25,
        width=1600,
        positions=Learned(),
        use_bias=True,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=2e-4, warmup="2000 steps", final=2e-5),
    batch=512,
    budget="300B tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
