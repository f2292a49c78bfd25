"""Chinese reviews of hotels, books and laptops: every family, on characters, subwords.

Run:     ./launch.sh train experiments/chnsenticorp.py
         ./launch.sh train experiments/chnsenticorp.py:nbsvm
         ./launch.sh evaluate runs/chnsenticorp/nbsvm/seed0 --split test \
             --evaluation classes
Expect:  test accuracy (validation), one seed: by counting, in seconds: nbsvm-subwords
         0.932 (0.920), nbsvm 0.920 (0.917), nb 0.860 (0.873); the CNN on characters
         0.888 (0.895), two minutes on two busy cores; encoder 0.903 (0.909), ten
         minutes on one core; bag 0.854 (0.851). The other networks are not run yet.
         Of the 1,200 texts of test, 331 stand in train word for word
Source:  Cui et al. 2019 (arXiv 1906.08101): BERT 94.7 (validation) and 95.0 (test),
         after all of Chinese Wikipedia
Data:    $LM_JAX_DATA/chnsenticorp (train.tsv, dev.tsv, test.tsv: label, text_a)
"""

from dataclasses import replace

from lm_jax.counting import NaiveBayes
from lm_jax.data import Labelled
from lm_jax.evaluation import Accuracy, ClassScores, Likelihood
from lm_jax.experiment import CountExperiment, Experiment, Published
from lm_jax.models import (
    BagOfVectors,
    BiRecurrent,
    Classifier,
    ConvEncoder,
    Encoder,
    Last,
    Max,
    Mean,
    Transformer,
)
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Subwords

corpus = Corpus("chnsenticorp", column="text_a")
published = Published(
    0.950, "Cui et al. 2019 (arXiv 1906.08101), BERT", "test", "accuracy"
)
experiment = Experiment(
    data=Labelled(corpus, Characters(unknown=True), lengths=(64, 128, 256)),
    model=ConvEncoder(width=128, kernels=(2, 3, 4, 5), maps=100, dropout=0.5),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="50 steps"),
    batch=32,
    budget="5 epochs",
    evaluations={
        "accuracy": Accuracy("1 epoch"),
        "likelihood": Likelihood(),
        "classes": ClassScores(),
    },
    watch="accuracy",
    published=published,
)
counted = CountExperiment(
    data=replace(experiment.data, lengths=(1024,)),
    model=NaiveBayes(order=2),
    evaluations={"likelihood": Likelihood(), "classes": ClassScores()},
    published=published,
)
subwords = replace(experiment.data, tokenizer=Subwords(size=8000))
small = {"layers": 2, "heads": 4, "width": 128, "dropout": 0.1}
models = {
    "bag": Classifier(BagOfVectors(100), Mean()),
    "lstm": Classifier(BiRecurrent(layers=1, width=100), Max(), dropout=0.5),
    "encoder": Classifier(Encoder(**small), Mean()),
    "decoder": Classifier(Transformer(**small), Last()),
}
variants = {
    "nb": counted,
    "nbsvm": replace(counted, model=NaiveBayes(order=2, weights="logistic")),
    "nbsvm-subwords": replace(
        counted,
        data=replace(counted.data, tokenizer=Subwords(size=8000)),
        model=NaiveBayes(order=2, weights="logistic"),
    ),
    **{name: replace(experiment, model=model) for name, model in models.items()},
    "subwords": replace(experiment, data=subwords),
}
