"""Questions on articles of Wikipedia: the part of a passage that answers, from scratch.

The variant `written` writes its answers. Its articles are split by shares, not folds:
the spans of the same questions are those of `--data.fold None --data.corpus.test 0.2`.

Run:     ./launch.sh train experiments/squad.py
         ./launch.sh train experiments/squad.py --data.fold 1 --run runs/fold1
         ./launch.sh evaluate runs/squad/base/seed0 --split test --evaluation spans
         ./launch.sh evaluate runs/squad/base/seed0 --split test --evaluation window
         ./launch.sh train experiments/squad.py:open-book       (needs `retrieval`)
Expect:  test F1 of folds 0 to 4, seed 0: 0.319, 0.412, 0.338, 0.327, 0.365, mean 0.352
         (0.305 to 0.399, a 95% t-interval over folds); exact 0.194, 0.266, 0.221,
         0.203, 0.230. The sliding window on the same folds: F1 0.192, 0.233, 0.211,
         0.184, 0.202, mean 0.204 (0.181 to 0.228); exact 0.083, 0.117, 0.114, 0.089,
         0.092. The model is better by 0.148 (0.119 to 0.176). Two epochs, three
         minutes a fold on one core. `written` and `open-book` are not run to their end
         yet. BM25 finds the passage of a test question of fold 0 among the 403 of its
         split first for 0.714 of them, and among the first five for 0.904
Source:  Rajpurkar et al. 2016 (arXiv 1606.05250), table 5: sliding window F1 20.0 and
         EM 13.2 on this file with a parser's constituents
Data:    $LM_JAX_DATA/squad/dev-v1.1.json (unpack the archive): the development set of
         SQuAD 1.1, whose articles are split anew into five folds
"""

from dataclasses import replace

from lm_jax.data import AnswerSpans, TextPairs
from lm_jax.evaluation import (
    Likelihood,
    OpenBook,
    SlidingWindow,
    SpanScores,
    WrittenAnswers,
)
from lm_jax.experiment import Experiment
from lm_jax.models import (
    BiRecurrent,
    Dropouts,
    Encoder,
    EncoderDecoder,
    Relative,
    Tagger,
)
from lm_jax.objectives import FindSpan, Seq2Seq
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords, Words

experiment = Experiment(
    data=AnswerSpans(Corpus("squad"), Words(size=10_000, lowercase=True)),
    model=Tagger(
        BiRecurrent(layers=1, width=64, dropout=Dropouts(input=0.2), segment_types=3),
        dropout=0.2,
    ),
    objective=FindSpan(longest=15),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=4e-3, warmup="50 steps"),
    batch="8192 tokens",
    budget="2 epochs",
    evaluations={
        "spans": SpanScores(every="1 epoch"),
        "likelihood": Likelihood(),
        "window": SlidingWindow(every="2 epochs"),
    },
    watch="spans",
)
variants = {
    "no-matches": replace(
        experiment,
        model=experiment.model.clone(body=experiment.model.body.clone(segment_types=2)),
    ),
    "encoder": replace(
        experiment,
        model=Tagger(
            Encoder(layers=2, heads=4, width=128, dropout=0.1, segment_types=3)
        ),
    ),
    "open-book": replace(
        experiment,
        evaluations=dict(experiment.evaluations) | {"open": OpenBook(every="2 epochs")},
    ),
    "written": replace(
        experiment,
        data=TextPairs(
            Corpus("squad", test=0.2),
            Subwords(size=8000),
            lengths=(192, 256, 384),
            target_length=32,
        ),
        model=EncoderDecoder(
            layers=2, heads=4, width=128, positions=Relative(), norm="rms", dropout=0.1
        ),
        objective=Seq2Seq(),
        schedule=WarmupCosine(peak=2e-3, warmup="100 steps"),
        budget="4 epochs",
        evaluations={
            "likelihood": Likelihood("1 epoch"),
            "written": WrittenAnswers(every="2 epochs"),
        },
        watch="likelihood",
    ),
}
