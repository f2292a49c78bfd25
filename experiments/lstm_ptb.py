"""PyTorch's word_language_model on the words of the Penn Treebank.

Run:     ./launch.sh train experiments/lstm_ptb.py
         ./launch.sh train experiments/lstm_ptb.py:tied   (and :gru, :rnn)
Expect:  114.5 +- 0.7 test perplexity, 109.8 +- 0.8 tied (3 seeds each, with
         `evaluate RUN --split test`); 138.0 for the GRU and 186.4 for the tanh-RNN
         (one seed each, learning rates not tuned); half an hour on one CPU core
Source:  pytorch/examples, word_language_model, its README's 6 epochs, measured on
         this corpus: 117.61 test perplexity, 110.44 tied. The same recipe in
         PyTorch here had validation losses of 5.382, 5.093, 4.954 and 4.877 after
         its first four epochs, where ours had 5.387, 5.086, 4.933 and 4.855
Data:    $LM_JAX_DATA/ptb (Mikolov's ptb.{train,valid,test}.txt.gz)
"""

from dataclasses import replace

from lm_jax.data import CarriedStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment, Published
from lm_jax.models import GRU, LSTM, Dropouts, Elman, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD
from lm_jax.schedules import ReduceOnPlateau
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

SOURCE = "pytorch/examples, word_language_model, 6 epochs"

model = Recurrent(
    LSTM(),
    layers=2,
    width=200,
    dropout=Dropouts(input=0.2, between=0.2, output=0.2),
    dtype="bfloat16",
)
experiment = Experiment(
    data=CarriedStream(Corpus("ptb"), Words(), context=35),
    model=model,
    objective=NextToken(),
    optimizer=SGD(momentum=0.0, clip=0.25),
    schedule=ReduceOnPlateau(peak=20.0, factor=0.25, patience=0, threshold=0.0),
    batch=20,
    budget="6 epochs",
    evaluations={
        "likelihood": Likelihood("1 epoch"),
        "sample": Sample(prompt="the company", length=40),
    },
    published=Published(117.61, SOURCE, "test", "perplexity"),
)
variants = {
    "tied": replace(
        experiment,
        model=model.clone(tied=True),
        published=Published(110.44, SOURCE + ", tied", "test", "perplexity"),
    ),
    "gru": replace(experiment, model=model.clone(cell=GRU()), published=None),
    "rnn": replace(
        experiment,
        model=model.clone(cell=Elman("tanh")),
        schedule=replace(experiment.schedule, peak=5.0),
        published=None,
    ),
}
