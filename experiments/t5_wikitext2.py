"""A small T5 that writes the hidden spans of WikiText-2.

Run:     ./launch.sh train experiments/t5_wikitext2.py
Expect:  accuracy 0.323, 0.329, 0.323, 0.331, 0.335 and 0.335, loss 4.74, 4.60,
         4.53, 4.47, 4.42 and 4.40, after each 500 steps (one seed; 15 minutes on
         one CPU core). To beat: always the most frequent token ("<span_0>") has an
         accuracy of 0.0385, and the shares of the training targets a loss of
         5.929. Most of it is form: 27% of the targets are sentinels, and 9% the
         pieces of the corpus's <unk>. Of the other targets 0.054 are right (" the":
         0.048), by what was just written: the first token of a span is not yet
         learned from what stands around it, which takes longer than this
Source:  Raffel et al. 2020, 3.1.4 (15% hidden, spans of 3 tokens)
Data:    $LM_JAX_DATA/wikitext-2
"""

from dataclasses import replace

from lm_jax.data import SpanCorruption
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import EncoderDecoder, Relative
from lm_jax.objectives import Seq2Seq
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupLinear
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords

experiment = Experiment(
    data=SpanCorruption(Corpus("wikitext-2"), Subwords(size=8000), context=128),
    model=EncoderDecoder(
        layers=2, heads=4, width=128, positions=Relative(), norm="rms"
    ),
    objective=Seq2Seq(),
    optimizer=AdamW(b2=0.98, weight_decay=0.01, clip=1.0),
    schedule=WarmupLinear(peak=2e-3, warmup="100 steps"),
    batch=16,
    budget="3000 steps",
    evaluations={"likelihood": Likelihood("500 steps")},
)

variants = {
    "smoothed": replace(experiment, objective=Seq2Seq(label_smoothing=0.1)),
    "long_spans": replace(experiment, data=replace(experiment.data, span=8.0)),
}
