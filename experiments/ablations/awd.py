"""The parts of AWD-LSTM, each left out: words of the Penn Treebank, a small model.

Run:     ./launch.sh sweep experiments/ablations/awd.py
Expect:  not run yet
Source:  Merity et al. 2018, table 4, after 750 epochs with 24M parameters (test
         perplexity 57.3; without the parts 58.1 to 62.7). Here 5M parameters and 6
         epochs, by far too few for what regularisers do in the end
Data:    $LM_JAX_DATA/ptb (Mikolov's ptb.{train,valid,test}.txt.gz)
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.averages import AverageAfter
from lm_jax.data import CarriedStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import LSTM, Dropouts, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD
from lm_jax.schedules import Constant
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

# The paper's rates are 0.4 on words and between layers, 0.5 on weights, for a model
# five times as large that sees the text a hundred times as often.
dropout = Dropouts(
    input=0.2, between=0.1, output=0.2, embedding=0.05, weight=0.2, variational=True
)
model = Recurrent(
    LSTM(),
    layers=2,
    width=300,
    embedding_width=200,
    tied=True,
    dropout=dropout,
    activation_penalty=2.0,
    change_penalty=1.0,
)
experiment = Experiment(
    data=CarriedStream(Corpus("ptb"), Words(), context=35, jitter=5),
    model=model,
    objective=NextToken(),
    optimizer=SGD(momentum=0.0, clip=0.25),
    schedule=Constant(peak=20.0),
    batch=20,
    budget="6 epochs",
    average=AverageAfter(1),
    evaluations={"likelihood": Likelihood("0.25 epochs")},
)

without = {
    "weight": model.clone(dropout=replace(dropout, weight=0.0)),
    "embedding": model.clone(dropout=replace(dropout, embedding=0.0)),
    "variational": model.clone(dropout=replace(dropout, variational=False)),
    "penalties": model.clone(activation_penalty=0.0, change_penalty=0.0),
}
variants = {
    f"no_{name}": replace(experiment, model=left) for name, left in without.items()
}
variants["no_average"] = replace(experiment, average=None)
variants["no_jitter"] = replace(experiment, data=replace(experiment.data, jitter=0))
study = Study(measure="loss", seeds=3)
