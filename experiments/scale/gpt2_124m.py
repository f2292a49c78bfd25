"""GPT-2 124M"""

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
        layers=12,
        heads=12,
        width=768,
        positions=Learned(),
        use_bias=True,
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.95, weight_decay=0.1),
    schedule=WarmupCosine(peak=6e-4, warmup="2000 steps", final=6e-5),
    batch=512,
    budget="300B tokens",
    evaluations={"likelihood": Likelihood("1000 steps")},
    execution=Execution(compute=Compute(scan=True, remat="full")),
)
