"""Whole reviews of movies, for or against: words counted, and windows read.

Run:     ./launch.sh train experiments/imdb.py
         ./launch.sh train experiments/imdb.py:windows
         ./launch.sh evaluate runs/imdb/base/seed0 --split test --evaluation classes
Expect:  test accuracy 0.9142 (validation 0.9138) in a minute; nb 0.8652 (0.8805) in
         half of one. "windows" and "first" are not run yet
Source:  Wang and Manning 2012, table 3: NB-SVM with pairs of words 91.22, naive Bayes
         with pairs 86.59, with words 83.55
Data:    $LM_JAX_DATA/imdb (train.tsv and test.tsv: label, rating, number, review)
"""

from dataclasses import replace

from lm_jax.counting import NaiveBayes
from lm_jax.data import Labelled
from lm_jax.evaluation import Accuracy, ClassScores, Likelihood
from lm_jax.experiment import CountExperiment, Experiment, Published
from lm_jax.models import Classifier, Encoder, Mean
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

words = Words(lowercase=True)
experiment = CountExperiment(
    data=Labelled(Corpus("imdb", validation=0.05), words, lengths=(4096,)),
    model=NaiveBayes(order=2, weights="logistic"),
    evaluations={"likelihood": Likelihood(), "classes": ClassScores()},
    published=Published(0.9122, "Wang and Manning 2012, table 3", "test", "accuracy"),
)

# Each review is read in windows of 128 words, a half beyond the one before; those of
# "first" are cut to the first window.
windows = Experiment(
    data=Labelled(
        Corpus("imdb", validation=0.05),
        Words(size=20_000, lowercase=True),
        lengths=(128, 256, 512, 1024),
    ),
    model=Classifier(
        Encoder(layers=2, heads=4, width=128, dropout=0.1),
        Mean(),
        window=128,
        stride=64,
    ),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=5e-4, warmup="100 steps"),
    batch="8192 tokens",
    budget="3 epochs",
    evaluations={
        "accuracy": Accuracy("1 epoch"),
        "likelihood": Likelihood(),
        "classes": ClassScores(),
    },
    watch="accuracy",
)
variants = {
    "nb": replace(experiment, model=NaiveBayes(order=2)),
    "nb-unigrams": replace(experiment, model=NaiveBayes(order=1)),
    "trigrams": replace(experiment, model=replace(experiment.model, order=3)),
    "windows": windows,
    "first": replace(windows, data=replace(windows.data, lengths=(128,))),
}
