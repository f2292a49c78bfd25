"""Documents on aerodynamics that answer questions of engineers: Cranfield, 1967.

Run:     ./launch.sh train experiments/cranfield.py:bm25
Expect:  nDCG@10 on 182 test questions, seed 0: 0.3487 by BM25; 0.3518 by the
         bi-encoder, some minutes on one CPU core; 0.3716 by both, weight 0.25 of the
         second (0.3699 with equal weights)
Source:  Cleverdon 1967; no published figure is of these splits

The 225 questions have no splits: a fifth, drawn by digest, is for choosing and the rest
the test; none trains. Grades run from 4, the best, to 1; 0 is of no interest.
"""

from lm_jax.counting import BM25
from lm_jax.data import Passages
from lm_jax.evaluation import Likelihood, Ranking
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.models import BagOfVectors, BiEncoder
from lm_jax.objectives import InfoNCE
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Collection
from lm_jax.tokenizers import Terms

questions = Collection("cranfield", validation=0.2, test=0.8)
experiment = Experiment(
    data=Passages(questions, Terms(), 32, (256,), titles=True),
    model=BiEncoder(BagOfVectors(256)),
    objective=InfoNCE(temperature=0.05),
    optimizer=AdamW(weight_decay=0.0),
    schedule=WarmupCosine(peak=3e-3, warmup="5 steps"),
    batch=128,
    budget="4 epochs",
    evaluations={
        "ranking": Ranking(every="1 epoch"),
        "in_batch": Likelihood("1 epoch"),
    },
    watch="ranking",
)
variants = {
    "bm25": CountExperiment(
        data=Passages(questions, Terms()),
        model=BM25(k1=0.9, b=0.4),
        evaluations={"ranking": Ranking()},
        watch="ranking",
    )
}
