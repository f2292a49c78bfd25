"""A small BERT that fills in hidden subwords of WikiText-2.

Run:     ./launch.sh train experiments/bert_wikitext2.py
Expect:  masked accuracy 0.274, 0.301, 0.321, 0.335, 0.345 and 0.351, loss 5.50,
         5.09, 4.78, 4.56, 4.43 and 4.37, after each 250 steps (one seed; 12
         minutes on one CPU core). To beat: always the most frequent token (" the")
         has a masked accuracy of 0.041, and the shares of the training tokens a
         loss of 6.529. The corpus's <unk> is three subwords that betray each
         other, 12% of the validation tokens: without them the accuracy is 0.268,
         that of " the" 0.047. In training they are 6%, so its loss is higher. With
         learned positions (:learned) 500 steps learn no more than shares: 6.567
Source:  Devlin et al. 2019 (objective, 80/10/10), Liu et al. 2019 (dynamic masks)
Data:    $LM_JAX_DATA/wikitext-2
"""

from dataclasses import replace

from lm_jax.data import MaskedStream
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Encoder, Learned, Rotary
from lm_jax.objectives import MaskedTokens
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupLinear
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords

experiment = Experiment(
    data=MaskedStream(Corpus("wikitext-2"), Subwords(size=8000), context=128),
    model=Encoder(
        layers=4,
        heads=4,
        width=128,
        positions=Rotary(),
        norm_at="pre",
        embedding_norm=False,
    ),
    objective=MaskedTokens(),
    optimizer=AdamW(b2=0.98, weight_decay=0.01, clip=1.0),
    schedule=WarmupLinear(peak=2e-3, warmup="100 steps"),
    batch=16,
    budget="1500 steps",
    evaluations={"likelihood": Likelihood("250 steps")},
)

data, model = experiment.data, experiment.model
variants = {
    "static": replace(experiment, data=replace(data, dynamic=False)),
    "whole_words": replace(experiment, data=replace(data, whole_words=True)),
    "only_masks": replace(experiment, data=replace(data, mask=1.0, random=0.0)),
    "learned": replace(experiment, model=model.clone(positions=Learned())),
    "post_norm": replace(
        experiment, model=model.clone(norm_at="post", embedding_norm=True)
    ),
}
