"""Sentiment of SST-2's sentences from few labels: anew, pretrained, and by LoRA.

Run:     ./launch.sh train experiments/lstm_imdb.py
         ./launch.sh sweep experiments/pretrained_sst2.py --grid data.limit=100 \
             --variants base,pretrained,lora --out runs/pretrained_sst2_100
         and so with data.limit=1000, and 6920: all that there are
Expect:  validation accuracy, 5 seeds. 100 labels: anew 0.538, pretrained 0.574
         (better, p 0.020), LoRA 0.587 (better, p 0.005). 1,000 labels: 0.682, 0.657
         and 0.666 (inconclusive, and not in favour of pretraining). LoRA trains 0.7%
         of the parameters. All 6,920: 0.785, 0.686 and 0.693 (worse). These rates suit
         a model that begins anew: with peaks of 3e-3 (anew) and 1e-2 (pretrained) it is
         0.677 and 0.692 of 1,000 labels (p 0.13), and 0.799 and 0.807 of all, 1 seed.
         A sweep of 15 runs takes 6 minutes on one CPU core
         (pretrained_sst2_*.md of experiments/results: 100, 1000, 6920, 1000_rates)
Source:  Dai and Le 2015 (a classifier that begins as a language model); Hu et al.
         2021 (LoRA); no figure is published for these texts
Data:    the run of the first line, and $LM_JAX_DATA/sst
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.adapting import LoRA
from lm_jax.data import Labelled
from lm_jax.evaluation import Accuracy, Likelihood
from lm_jax.experiment import Experiment, FromRun
from lm_jax.models import Classifier, Dropouts, Max, Recurrent
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept

language = "runs/lstm_imdb/base/seed0"
experiment = Experiment(
    data=Labelled(Corpus("sst2"), Kept(language), lengths=(16, 32, 64)),
    model=Classifier(
        Recurrent(layers=1, width=200, dropout=Dropouts(input=0.2, output=0.2)),
        Max(),
        dropout=0.3,
    ),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=1e-3, warmup="20 steps"),
    batch=20,
    budget="600 steps",
    evaluations={"accuracy": Accuracy("200 steps"), "likelihood": Likelihood()},
    watch="accuracy",
)
pretrained = replace(
    experiment,
    initial=FromRun(run=language, new=("class_head",), dropped=("lm_head",)),
)
variants = {
    "pretrained": pretrained,
    "lora": replace(
        pretrained,
        adapter=LoRA(
            (("_kernel$", True), (".*", False)), rank=8, whole=("class_head",)
        ),
        schedule=WarmupCosine(peak=5e-3, warmup="20 steps"),
    ),
}
study = Study(measure="accuracy", seeds=5)
