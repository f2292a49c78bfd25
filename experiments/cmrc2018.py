"""Questions on Chinese Wikipedia: the part of a passage that answers, from scratch.

Run:     ./launch.sh train experiments/cmrc2018.py
         ./launch.sh evaluate runs/cmrc2018/base/seed0 --split test
Expect:  the model is not run yet; the sliding window over folds 0 to 4: F1 0.198,
         0.211, 0.178, 0.186, 0.185; exact 0.037, 0.035, 0.040, 0.028, 0.029
Source:  Cui et al. 2019 (arXiv 1810.07366): BERT 83.6 F1 and 63.5 exact after all of
         Chinese Wikipedia and the training set, which is not here
Data:    $LM_JAX_DATA/cmrc2018/cmrc2018_dev.json.gz: the development set, whose articles
         are split anew into five folds. 193 of its 9,657 answers stand nowhere in their
         passage: they count in scores, and nothing is learnt from them
"""

from lm_jax.data import AnswerSpans
from lm_jax.evaluation import Likelihood, SlidingWindow, SpanScores
from lm_jax.experiment import Experiment
from lm_jax.models import BiRecurrent, Dropouts, Tagger
from lm_jax.objectives import FindSpan
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    # Each Chinese character is a word.
    data=AnswerSpans(
        Corpus("cmrc2018"), Words(lowercase=True), lengths=(256, 384, 512), stride=192
    ),
    model=Tagger(
        BiRecurrent(layers=1, width=64, dropout=Dropouts(input=0.2), segment_types=3),
        dropout=0.2,
    ),
    objective=FindSpan(longest=50),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=4e-3, warmup="50 steps"),
    batch="8192 tokens",
    budget="4 epochs",
    evaluations={
        "spans": SpanScores("cmrc", every="1 epoch"),
        "likelihood": Likelihood(),
        "window": SlidingWindow(script="cmrc", every="4 epochs"),
    },
    watch="spans",
)
