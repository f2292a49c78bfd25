"""Label smoothing and dropout of a small translation model.

Run:     ./launch.sh sweep experiments/ablations/translation.py
Expect:  not run yet
Source:  Vaswani et al. 2017, table 3 (D), 8 times as large, by development
         perplexity and BLEU: smoothing none 4.67 and 25.3, 0.1 4.92 and 25.8;
         dropout none 5.77 and 24.6, 0.1 4.92 and 25.8
Data:    $LM_JAX_DATA/multi30k (train, val, test_2016_flickr: .en and .de)
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.data import TextPairs
from lm_jax.evaluation import Likelihood, Moses, Translation
from lm_jax.experiment import Experiment
from lm_jax.models import MLP, EncoderDecoder, Sinusoidal
from lm_jax.objectives import Seq2Seq
from lm_jax.optimizers import AdamW
from lm_jax.schedules import InverseSquareRoot
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords

experiment = Experiment(
    data=TextPairs(
        Corpus("multi30k"),
        Subwords(size=10_000, lowercase=True),
        lengths=(16, 24, 48),
    ),
    model=EncoderDecoder(
        layers=4,
        heads=4,
        width=128,
        positions=Sinusoidal(),
        feedforward=MLP(ratio=2.0, activation="relu"),
        dropout=0.3,
    ),
    objective=Seq2Seq(label_smoothing=0.1),
    optimizer=AdamW(b2=0.98, weight_decay=0.0, clip=None),
    schedule=InverseSquareRoot(peak=5e-3, warmup="500 steps"),
    batch="8192 tokens",
    budget="2000 steps",
    evaluations={
        "likelihood": Likelihood("500 steps"),
        "translation": Translation(Moses("de"), lowercase=True, every="2000 steps"),
    },
)

variants = {
    "unsmoothed": replace(experiment, objective=Seq2Seq()),
    "no_dropout": replace(experiment, model=experiment.model.clone(dropout=0.0)),
}
study = Study(measure="bleu", seeds=3)
