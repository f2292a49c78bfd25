"""The twenty tasks of bAbI, 1,000 questions each, learnt together by one model.

Run:     ./launch.sh train experiments/babi.py
         ./launch.sh evaluate runs/babi/base/seed0 --split test --evaluation tasks
Expect:  seed 0, on the 20,000 test questions: mean error 0.193 (validation 0.196), and
         15 tasks within a point of the published figure or above; 3,841 steps, about
         40 minutes on a third of a core. Of each task in percent, here and published:
            1  99.7 100    6  98.7  92   11  89.6  84   16  45.8  44
            2  81.7  83    7  86.2  84   12 100.0 100   17  61.2  52
            3  65.6  54    8  92.8  86   13  93.9  90   18  91.1  88
            4  98.9  98    9  98.5  90   14  75.5  93   19   9.1  13
            5  83.5  87   10  93.3  78   15  49.1 100   20 100.0 100
Source:  MemN2N (Sukhbaatar et al. 2015, arXiv 1503.08895), 1,000 questions a task: a
         mean error of 0.192 over the rounded figures above
Data:    $LM_JAX_DATA/babi/babi_v1.2_en_1k.tar.gz (v1.2, English). A tenth of the
         training stories is kept for validation, which chose the checkpoint

Questions stay in their story, without answers, so each story is read once. An answer
is one token, lists ("milk,football") too, as theirs is. 1.9% of the test stories stand
in training too, word for word.
"""

from lm_jax.data import Stories
from lm_jax.evaluation import Likelihood, TaskAccuracy
from lm_jax.experiment import Experiment
from lm_jax.models import MLP, KerpleLog, StoryReader
from lm_jax.objectives import AnswerQuestions
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=Stories(Corpus("babi"), Words(lowercase=True), sentences=64),
    model=StoryReader(
        layers=3,
        heads=4,
        width=64,
        positions=KerpleLog(),
        norm="rms",
        feedforward=MLP(),
        dropout=0.1,
    ),
    objective=AnswerQuestions(),
    optimizer=AdamW(b2=0.98, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=4e-3, warmup="100 steps"),
    batch=16,
    budget="50 epochs",
    evaluations={
        "tasks": TaskAccuracy(every="5 epochs"),
        "likelihood": Likelihood("5 epochs"),
    },
    watch="tasks",
)
