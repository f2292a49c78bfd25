r"""The small LSTM of Zaremba et al. on the words of the Penn Treebank.

Run:     ./launch.sh train experiments/lstm_ptb_zaremba.py
         ./launch.sh evaluate runs/lstm_ptb_zaremba/base/seed0 --split test \
             --step 30199
Expect:  120.9 validation and 114.9 test perplexity after 13 epochs (seed 0), two
         hours on one shared CPU core; 119.2 and 114.0 while logits were rounded to
         bfloat16
Source:  Zaremba et al. 2014, table 1: 120.7 validation, 114.5 test
Data:    $LM_JAX_DATA/ptb (Mikolov's ptb.{train,valid,test}.txt.gz)
"""

from lm_jax.data import CarriedStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment, Published
from lm_jax.models import LSTM, Recurrent
from lm_jax.objectives import NextToken
from lm_jax.optimizers import SGD
from lm_jax.schedules import StepDecay
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=CarriedStream(Corpus("ptb"), Words(), context=20),
    model=Recurrent(
        LSTM(), layers=2, width=200, range=0.1, cell_range=0.1, dtype="bfloat16"
    ),
    objective=NextToken(),
    # The paper sums over the 20 steps of a segment where we take their mean: its
    # learning rate of 1 and norm of 5 are 20 and 0.25 here.
    optimizer=SGD(momentum=0.0, clip=0.25),
    schedule=StepDecay(peak=20.0, factor=0.5, after="4 epochs", every="1 epoch"),
    batch=20,
    budget="13 epochs",
    evaluations={
        "likelihood": Likelihood("1 epoch"),
        "sample": Sample(prompt="the company", length=40),
    },
    published=Published(114.5, "Zaremba et al. 2014, table 1", "test", "perplexity"),
)
variants = {}
