"""Classifiers of movie reviews' sentences: every family on the same two classes.

Run:     ./launch.sh train experiments/sst2.py
         ./launch.sh train experiments/sst2.py:nbsvm
         ./launch.sh evaluate runs/sst2/nb/seed0 --split test --evaluation classes
Expect:  test accuracy of what is counted, in seconds: nb 0.832 (validation 0.802),
         nb-unigrams 0.823 (0.803), nbsvm 0.822 (0.811); of whole sentences alone
         nb-sentences 0.825 (0.795), nbsvm-sentences 0.799 (0.797). After 5 epochs, one
         seed: cnn 0.819 (0.829), cnn-static 0.792 (0.806), cnn-nonstatic 0.836
         (0.837). The other networks are not run yet
Source:  Wang and Manning 2012, table 3, give no figure for this set; Socher et al.
         2013, table 1: naive Bayes 81.8, with pairs of words 83.1, averaged vectors
         80.1; Tai et al. 2015, table 2: a bidirectional LSTM 87.5 (with vectors of
         840 billion words); Kim 2014, table 2: CNN-rand 82.7
Data:    $LM_JAX_DATA/sst (stsa.binary.{train,dev,test}; phrases: glue_train.tsv)
"""

from dataclasses import replace

from lm_jax.counting import NaiveBayes
from lm_jax.data import Labelled
from lm_jax.evaluation import Accuracy, ClassScores, Likelihood
from lm_jax.experiment import CountExperiment, Experiment, InitialVectors, Published
from lm_jax.models import (
    BagOfVectors,
    BiRecurrent,
    Classifier,
    ConvEncoder,
    Dropouts,
    Encoder,
    Last,
    Max,
    Mean,
    Transformer,
)
from lm_jax.objectives import Classify
from lm_jax.optimizers import Adadelta, AdamW
from lm_jax.schedules import Constant, WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

evaluations = {
    "accuracy": Accuracy("1 epoch"),
    "likelihood": Likelihood(),
    "classes": ClassScores(),
}
experiment = Experiment(
    data=Labelled(Corpus("sst2-phrases"), Words(), lengths=(4, 8, 16, 32, 64)),
    model=Classifier(
        BiRecurrent(layers=1, width=150, dropout=Dropouts(embedding=0.1)),
        pool=Max(),
        dropout=0.5,
    ),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="100 steps"),
    batch=50,
    budget="5 epochs",
    evaluations=evaluations,
    watch="accuracy",
    published=Published(0.875, "Tai et al. 2015, table 2", "test", "accuracy"),
)

counted = CountExperiment(
    data=Labelled(Corpus("sst2-phrases"), Words(), lengths=(64,)),
    model=NaiveBayes(order=2),
    evaluations={"likelihood": Likelihood(), "classes": ClassScores()},
    published=Published(0.831, "Socher et al. 2013, table 1", "test", "accuracy"),
)
sentences = replace(counted, data=replace(counted.data, corpus=Corpus("sst2")))
# Kim's recipe. His vectors are word2vec's of 100 billion words of news; ours are of
# the reviews of IMDB's training half.
cnn = replace(
    experiment,
    model=ConvEncoder(width=300, kernels=(3, 4, 5), maps=100, wide=True, dropout=0.5),
    optimizer=Adadelta(max_norms=(("lm_head/kernel$", 3.0), (".*", None))),
    schedule=Constant(peak=1.0),
    published=Published(0.827, "Kim 2014, table 2, CNN-rand", "test", "accuracy"),
)
vectors = InitialVectors("runs/word2vec_imdb/vectors.txt")
small = {"layers": 2, "heads": 4, "width": 128, "dropout": 0.1}
variants = {
    "nb": counted,
    "nb-unigrams": replace(counted, model=NaiveBayes(order=1)),
    "nbsvm": replace(counted, model=NaiveBayes(order=2, weights="logistic")),
    "nb-sentences": sentences,
    "nbsvm-sentences": replace(
        sentences, model=NaiveBayes(order=2, weights="logistic", penalty=10.0)
    ),
    "bag": replace(experiment, model=Classifier(BagOfVectors(100), Mean())),
    "cnn": cnn,
    "cnn-static": replace(
        cnn, initial=vectors, frozen=(("^embedding$", True), (".*", False))
    ),
    "cnn-nonstatic": replace(cnn, initial=vectors),
    "encoder": replace(experiment, model=Classifier(Encoder(**small), Mean())),
    "decoder": replace(experiment, model=Classifier(Transformer(**small), Last())),
}
