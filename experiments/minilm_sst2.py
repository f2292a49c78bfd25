"""Sentiment of SST-2's sentences from few labels, by an encoder that others trained.

Run:     ./launch.sh sweep experiments/minilm_sst2.py --grid data.limit=100 \
             --variants base,pretrained,lora --out runs/minilm_sst2_100
Expect:  validation accuracy of 100 labels, 5 seeds: 0.570 +- 0.008 begun anew, 0.751
         +- 0.013 after the encoder (better, p < 0.0001), 0.760 +- 0.022 by LoRA
         (better, p 0.0001), which trains 0.65% of the parameters and keeps 2 MB in the
         place of 165. Of 1,000 labels: 0.634, 0.843 and 0.835 by LoRA (better, p <
         0.0001). Two minutes a run on one CPU core, rates not tuned
         (minilm_sst2_*.md of experiments/results: 100, 1000)
Source:  Devlin et al. 2019, 3 (fine-tuning); the encoder is all-MiniLM-L6-v2, of
         sentence-transformers (Reimers and Gurevych 2019; Wang et al. 2020)
Data:    $LM_JAX_DATA/sst, and the encoder's Hugging Face folder where you are, called
         all-MiniLM-L6-v2
"""

from dataclasses import replace

from lm_jax.ablation import Study
from lm_jax.adapting import LoRA
from lm_jax.data import Labelled
from lm_jax.evaluation import Accuracy, Likelihood
from lm_jax.experiment import Experiment, FromHuggingFace
from lm_jax.models import MLP, Classifier, Encoder, Learned, Mean
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Pretrained

FOLDER = "all-MiniLM-L6-v2"
encoder = Encoder(
    layers=6,
    heads=12,
    width=384,
    positions=Learned(512),
    feedforward=MLP(activation="gelu_exact"),
    norm_epsilon=1e-12,
    segment_types=2,
    dropout=0.1,
)
experiment = Experiment(
    data=Labelled(Corpus("sst2"), Pretrained(FOLDER), lengths=(16, 32, 64)),
    model=Classifier(encoder, Mean(), dropout=0.1),
    objective=Classify(),
    optimizer=AdamW(weight_decay=0.01, clip=1.0),
    schedule=WarmupCosine(peak=1e-4, warmup="20 steps"),
    batch=16,
    budget="200 steps",
    evaluations={"accuracy": Accuracy("200 steps"), "likelihood": Likelihood()},
    watch="accuracy",
)
pretrained = replace(
    experiment,
    initial=FromHuggingFace(path=FOLDER, new=("^class_head",), dropped=("^pooler",)),
)
variants = {
    "pretrained": pretrained,
    "lora": replace(
        pretrained,
        adapter=LoRA(
            (("attention/.*kernel$", True), (".*", False)),
            rank=8,
            whole=("^class_head",),
        ),
        schedule=WarmupCosine(peak=1e-3, warmup="20 steps"),
    ),
}
study = Study(measure="accuracy", seeds=5)
