"""Three families on the characters of the Complete Tang Poems.

Run:     ./launch.sh train experiments/poems.py
         ./launch.sh train experiments/poems.py:lstm   (and :ngram)
Expect:  2.351 validation bits per byte for the GPT, 2.423 for the 5-grams and 2.569
         for the LSTM (one seed each; GPT and LSTM see the text once, in 32 to 45
         minutes on one CPU core, and go on learning). The GPT and the LSTM write
         couplets of lines of five or seven characters, with titles and names
Source:  none published; the same tokens of training for GPT and LSTM
Data:    $LM_JAX_DATA/poetry (quantangshi_trad.tsv.gz: author, title, text in
         tab-separated lines)
"""

from dataclasses import replace

from lm_jax.counting import KneserNey, NGram
from lm_jax.data import CarriedStream, TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.generation import Sampling
from lm_jax.models import LSTM, Dropouts, Gated, Recurrent, Rotary, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters

corpus, tokenizer = Corpus("quantangshi"), Characters(unknown=True)
sample = Sample(prompt="春", length=80, sampling=Sampling(temperature=0.7))
once = {"likelihood": Likelihood(), "sample": sample}
experiment = Experiment(
    data=TokenStream(corpus, tokenizer, context=128),
    model=Transformer(
        layers=4,
        heads=4,
        width=256,
        positions=Rotary(),
        norm="rms",
        feedforward=Gated(),
        dtype="bfloat16",
    ),
    objective=NextToken(),
    optimizer=AdamW(b2=0.99, weight_decay=0.1),
    schedule=WarmupCosine(peak=2e-3, warmup="100 steps", final=1e-4),
    batch=16,
    budget="4M tokens",
    evaluations={"likelihood": Likelihood("1M tokens"), "sample": sample},
)
dropout = Dropouts(input=0.1, between=0.1, output=0.1)
variants = {
    "lstm": replace(
        experiment,
        data=CarriedStream(corpus, tokenizer, context=128),
        model=Recurrent(
            LSTM(),
            layers=2,
            width=384,
            embedding_width=256,
            tied=True,
            dropout=dropout,
            dtype="bfloat16",
        ),
        schedule=replace(experiment.schedule, peak=4e-3),
    ),
    "ngram": CountExperiment(
        TokenStream(corpus, tokenizer), NGram(5, KneserNey()), evaluations=once
    ),
}
