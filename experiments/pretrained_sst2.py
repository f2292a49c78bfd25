"""Sentiment of SST-2's sentences with few labels: from scratch, and after pretraining.

Run:     ./launch.sh train experiments/pretrained_sst2.py:language
         ./launch.sh sweep experiments/pretrained_sst2.py --grid data.limit=100 \
             --variants base,pretrained --out runs/pretrained_sst2_100
         and so with data.limit=1000 and 6920, all that there are
Expect:  not run yet
Source:  Dai and Le 2015 (a recurrent language model, then a classifier that begins
         with it); no figure is published for these texts
Data:    $LM_JAX_DATA/imdb (reviews of the training half, without their labels), and
         $LM_JAX_DATA/sst
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.adapting import LoRA
from lm_jax.data import Labelled, TokenStream
from lm_jax.evaluation import Accuracy, Likelihood, Sample
from lm_jax.experiment import Experiment, FromRun
from lm_jax.models import Classifier, Dropouts, Max, Recurrent
from lm_jax.objectives import Classify, NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Words

language = "runs/pretrained_sst2/language/seed0"
body = Recurrent(layers=1, width=200, dropout=Dropouts(input=0.2, output=0.2))
experiment = Experiment(
    data=Labelled(Corpus("sst2"), Kept(language), lengths=(16, 32, 64)),
    model=Classifier(body, Max(), dropout=0.3),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="20 steps"),
    batch=20,
    budget="600 steps",
    evaluations={"accuracy": Accuracy("200 steps"), "likelihood": Likelihood()},
    watch="accuracy",
)
pretrained = replace(experiment, initial=FromRun(run=language, new=("class_head",)))

variants = {
    "language": replace(
        experiment,
        data=TokenStream(
            Corpus("imdb", validation=0.02),
            Words(size=10_000, lowercase=True),
            context=64,
        ),
        model=body,
        objective=NextToken(),
        optimizer=AdamW(weight_decay=0.01, clip=1.0),
        schedule=WarmupCosine(peak=3e-3, warmup="200 steps", final=1e-4),
        batch=32,
        budget="2 epochs",
        evaluations={
            "likelihood": Likelihood("1000 steps"),
            "sample": Sample(prompt="this movie is", length=40),
        },
        watch="likelihood",
    ),
    "pretrained": pretrained,
    "lora": replace(
        pretrained,
        adapter=LoRA((("_kernel$", True), (".*", False)), rank=8, whole=("class_head",)),
        schedule=WarmupCosine(peak=5e-3, warmup="20 steps"),
    ),
}
study = Study(measure="accuracy", seeds=5)
