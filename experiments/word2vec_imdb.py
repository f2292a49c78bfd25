"""Word vectors of movie reviews, for classifiers of such texts to begin with.

Run:     ./launch.sh train experiments/word2vec_imdb.py
         ./launch.sh vectors runs/word2vec_imdb/base/seed0 \
             --out runs/word2vec_imdb/vectors.txt
Expect:  6 minutes on two busy cores; Spearman with what people say of words: MEN
         0.24, SimLex-999 0.15
Source:  Mikolov et al. 2013b (skip-gram, 300 numbers a word)
Data:    $LM_JAX_DATA/imdb (train.tsv: label, rating, number, review); the test half
         is not read
"""

from lm_jax.data import Noise, WordContexts
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import WordVectors
from lm_jax.objectives import SkipGram
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupLinear
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=WordContexts(
        Corpus("imdb", validation=0.05),
        Words(size=30_000),
        window=5,
        targets=Noise(5, shared=32),
    ),
    model=WordVectors(width=300),
    objective=SkipGram(),
    optimizer=AdamW(weight_decay=0.0, clip=None),
    schedule=WarmupLinear(peak=1e-2),
    batch=16,
    budget="2 epochs",
    evaluations={"likelihood": Likelihood("1 epoch")},
)
