"""Abstracts that support or contradict a scientific claim: SciFact, in BEIR's form.

Run:     ./launch.sh train experiments/scifact.py:bm25
Expect:  nDCG@10 on the 300 test queries, seed 0: 0.6776 by BM25; 0.7530 by the
         bi-encoder, three minutes on one CPU core; 0.7540 by both, weight 0.95 of the
         second (0.7355 with equal weights)
Source:  BEIR (Thakur et al. 2021): BM25 0.6789, title and text as one field

BM25 is Lucene's variant with Anserini's k1 0.9 and b 0.4, on Porter stems without stop
words. The bi-encoder is a mean of vectors of the same stems, trained on the claims of
training and on the title of each abstract. A tenth of those claims, 65, is kept from
training: it chose the checkpoint and the weight. Claims of training and test share
abstracts: 65% of the test claims have one that answers a claim of training too, which
helps the bi-encoder and not BM25.
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

experiment = Experiment(
    data=Passages(Collection("scifact"), Terms(size=16_000), 32, (256,), titles=True),
    model=BiEncoder(BagOfVectors(256)),
    objective=InfoNCE(temperature=0.05),
    optimizer=AdamW(weight_decay=0.0),
    schedule=WarmupCosine(peak=3e-3, warmup="10 steps"),
    batch=256,
    budget="2 epochs",
    evaluations={
        "ranking": Ranking(every="1 epoch"),
        "in_batch": Likelihood("1 epoch"),
    },
    watch="ranking",
)
bm25 = CountExperiment(
    data=Passages(Collection("scifact"), Terms()),
    model=BM25(k1=0.9, b=0.4),
    evaluations={"ranking": Ranking()},
    watch="ranking",
)
variants = {"bm25": bm25}
