"""How alike two sentences are, by the cosine of their vectors: a public encoder.

Run:     ./launch.sh import all-MiniLM-L6-v2 --run runs/minilm --corpus stsb
         ./launch.sh evaluate runs/minilm --split test
         ./launch.sh train experiments/minilm_stsb.py:pretrained
         ./launch.sh evaluate runs/minilm_stsb/pretrained/seed0 --split test
Expect:  test Spearman 0.820 as imported (validation 0.867), 0.854 (0.896) after one
         epoch, 0.582 (0.685) for the same shape begun anew; Pearson 0.827, 0.857 and
         0.593. One seed, rates not tuned; an epoch takes eight to eleven minutes of one
         busy CPU core, a split 45 seconds
Source:  Reimers and Gurevych 2019, 3 and 4.2 (the objective, the benchmark); the
         encoder is all-MiniLM-L6-v2, of sentence-transformers, for whose vectors the
         results of MTEB (Muennighoff et al. 2023, github.com/embeddings-benchmark/
         results) have 0.8203 Spearman and 0.8274 Pearson on the test split
Data:    $LM_JAX_DATA/stsb, and the encoder's Hugging Face folder where you are, called
         all-MiniLM-L6-v2
"""

from dataclasses import replace

from lm_jax.data import RatedPairs
from lm_jax.evaluation import Correlation, Likelihood
from lm_jax.experiment import Experiment, FromHuggingFace
from lm_jax.models import MLP, BiEncoder, Encoder, Learned, Mean
from lm_jax.objectives import CosineSimilarity
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
    data=RatedPairs(Corpus("stsb"), Pretrained(FOLDER), lengths=(16, 32, 64, 128)),
    model=BiEncoder(encoder, Mean()),
    objective=CosineSimilarity(),
    optimizer=AdamW(weight_decay=0.01, clip=1.0),
    schedule=WarmupCosine(peak=5e-5, warmup="20 steps"),
    batch=16,
    budget="1 epoch",
    evaluations={"correlation": Correlation("1 epoch"), "likelihood": Likelihood()},
    watch="correlation",
)
variants = {
    "pretrained": replace(
        experiment, initial=FromHuggingFace(path=FOLDER, dropped=("^pooler",))
    )
}
