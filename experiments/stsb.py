"""How alike two sentences are: pairs with a number, told by every kind of body.

Run:     ./launch.sh train experiments/stsb.py
         ./launch.sh evaluate runs/stsb/base/seed0 --split test
Expect:  averaged vectors, begun anew: test Spearman 0.249 (validation 0.200), Pearson
         0.257, a minute on two busy cores; encoder 0.267 (0.187); lstm 0.452 (0.452),
         26 minutes on a core that others used too; `chinese` is not run yet
Source:  Cer et al. 2017 (the benchmark); averaged GloVe vectors 58.0 Spearman
         (Reimers and Gurevych 2019, table 2), which nothing here was trained on
Data:    $LM_JAX_DATA/stsb (stsb-en-{train,dev,test}.csv; Chinese: stsb-zh-...)
"""

from dataclasses import replace

from lm_jax.data import Rated
from lm_jax.evaluation import Correlation, Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import BagOfVectors, BiRecurrent, Classifier, Encoder, Max, Mean
from lm_jax.objectives import Regress
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words

experiment = Experiment(
    data=Rated(Corpus("stsb"), Words(lowercase=True), lengths=(16, 32, 64, 128)),
    model=Classifier(BagOfVectors(100), Mean(), apart=True),
    objective=Regress(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="50 steps"),
    batch=32,
    budget="10 epochs",
    evaluations={"correlation": Correlation("1 epoch"), "likelihood": Likelihood()},
    watch="correlation",
)
variants = {
    "lstm": replace(
        experiment, model=Classifier(BiRecurrent(layers=1), Max(), apart=True)
    ),
    "encoder": replace(
        experiment,
        model=Classifier(Encoder(layers=2, heads=4, width=128, dropout=0.1), Mean()),
    ),
    "chinese": replace(
        experiment,
        data=replace(
            experiment.data,
            corpus=Corpus("stsb-zh"),
            tokenizer=Characters(unknown=True),
        ),
    ),
}
