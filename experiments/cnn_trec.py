"""A convolutional network that tells what a question of TREC asks for.

Run:     ./launch.sh train experiments/cnn_trec.py
         ./launch.sh evaluate runs/cnn_trec/base/seed0 --split test
Expect:  test accuracy 0.904 +- 0.005 (seeds 0, 1, 2: 0.898 0.906 0.908) at the best
         validation loss, after 7 to 10 epochs; validation accuracy 0.837 to 0.843 at
         the end; 79 s on two shared CPU cores. A tenth of the training questions is
         held out for validation. :kim is the paper's Adadelta for 25 epochs: 0.898 +-
         0.004 (0.894 0.902 0.898)
Source:  Kim 2014, table 2, CNN-rand: filters of 3, 4 and 5 words, 100 of each,
         dropout 0.5, batches of 50. Adam in place of Adadelta, and its weight
         decay of every matrix in place of the bound on the last layer's norm
Data:    $LM_JAX_DATA/trec
"""

from dataclasses import replace

from lm_jax.data import Labelled
from lm_jax.evaluation import Accuracy, Likelihood
from lm_jax.experiment import Experiment, Published
from lm_jax.models import ConvEncoder
from lm_jax.objectives import Classify
from lm_jax.optimizers import Adadelta, AdamW
from lm_jax.schedules import Constant, WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=Labelled(Corpus("trec"), Words(), lengths=(8, 12, 16, 40)),
    model=ConvEncoder(width=300, kernels=(3, 4, 5), maps=100, dropout=0.5),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="50 steps"),
    batch=50,
    budget="10 epochs",
    evaluations={"likelihood": Likelihood("1 epoch")},
    published=Published(0.912, "Kim 2014, table 2, CNN-rand", "test", "accuracy"),
)

variants = {
    "lowercase": replace(
        experiment, data=replace(experiment.data, tokenizer=Words(lowercase=True))
    ),
    "kim": replace(
        experiment,
        model=experiment.model.clone(wide=True),
        optimizer=Adadelta(max_norms=(("lm_head/kernel$", 3.0), (".*", None))),
        schedule=Constant(peak=1.0),
        budget="25 epochs",
        evaluations={"accuracy": Accuracy("1 epoch"), "likelihood": Likelihood()},
        watch="accuracy",
    ),
}
