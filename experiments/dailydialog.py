"""Small talk in English: a decoder that answers, for `chat` at once.

Run:     ./launch.sh train experiments/dailydialog.py
         ./launch.sh chat runs/dailydialog/base/seed0
         ./launch.sh evaluate runs/dailydialog/base/seed0 --split test
         ./launch.sh evaluate runs/dailydialog/base/seed0 --split test \\
             --evaluation distinct --predictions answers.jsonl
Expect:  not run to its end yet. The perplexity is that of answers alone, a subword,
         with the end of each. In this text marks of punctuation stand apart ("Good
         morning , sir ."): write to it so
Source:  none published for this model; Li et al. 2017 (arXiv 1710.03957) for the data,
         Li et al. 2016 (arXiv 1510.03055) for distinct-1 and -2
Data:    $LM_JAX_DATA/dailydialog (train.zip, validation.zip and test.zip, as they are).
         The side that begins is the user, the other one the assistant. 69 dialogues of
         validation and 93 of test stand in train too
Extra:   serve (LM_JAX_EXTRAS=serve)
"""

from dataclasses import replace

from lm_jax.data import Conversations, answer_template
from lm_jax.evaluation import Distinct, Likelihood, Sample
from lm_jax.experiment import Experiment
from lm_jax.generation import Sampling
from lm_jax.models import Gated, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords

experiment = Experiment(
    data=Conversations(Corpus("dailydialog"), Subwords(size=4000), context=320),
    model=Transformer(
        layers=4,
        heads=4,
        width=128,
        positions=Rotary(),
        norm="rms",
        feedforward=Gated(),
        dropout=0.1,
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=2e-3, warmup="100 steps"),
    batch=16,
    budget="2 epochs",
    evaluations={
        "likelihood": Likelihood("200 steps"),
        "distinct": Distinct(sampling=Sampling(temperature=0.8), every="2 epochs"),
        "sample": Sample(
            prompt="user: How are you ?\nassistant: ",
            length=40,
            sampling=Sampling(temperature=0.8),
        ),
    },
)
variants = {
    "unnamed": replace(
        experiment,
        data=replace(experiment.data, template=answer_template("\n")),
        evaluations=dict(experiment.evaluations)
        | {"sample": Sample(prompt="How are you ?\n", length=40)},
    )
}
