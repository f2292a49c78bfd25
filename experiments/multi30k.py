"""English to German: captions of pictures, by a small Transformer.

Run:     ./launch.sh train experiments/multi30k.py
         ./launch.sh evaluate runs/multi30k/base/seed0 --split test
         ./launch.sh generate runs/multi30k/base/seed0 --prompt "A dog runs."
Expect:  not run to its 8,000 updates yet. "short", stopped at 2,400 (--budget "2400
         steps", 1 seed, 2.2 hours on one shared core): test_2016 32.7 tokenized BLEU
         by beams with the mean of 10 checkpoints (sacreBLEU 32.7, chrF 57.7; 0.90 of
         the references' length), 31.7 greedy; perplexity of a subword 7.22. The rate
         has just reached its peak there: warmup takes 2,000 updates
Source:  Wu et al. 2021 (arXiv 2105.14462), Transformer-Tiny: 41.02 tokenized BLEU
         of lowercased test sentences after 8,000 updates of 8,192 tokens, beam 5,
         the mean of the last 10 checkpoints. Words are Moses', as theirs are (the
         extra `translation`); sacreBLEU's own stand beside
Data:    $LM_JAX_DATA/multi30k (train, val, test_2016_flickr: .en and .de)
"""

from dataclasses import replace

from lm_jax.averages import LastCheckpoints
from lm_jax.data import TextPairs
from lm_jax.evaluation import Likelihood, Moses, Sample, Translation
from lm_jax.experiment import Experiment
from lm_jax.generation import Beam, Sampling
from lm_jax.models import MLP, EncoderDecoder, Sinusoidal
from lm_jax.objectives import Seq2Seq
from lm_jax.optimizers import AdamW
from lm_jax.schedules import InverseSquareRoot
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords

GERMAN, ENGLISH, CHINESE = (
    {
        "translation": Translation(words, lowercase, beam=Beam(5), every="4000 steps"),
        "greedy": Translation(words, lowercase, every="4000 steps"),
    }
    for words, lowercase in ((Moses("de"), True), (Moses("en"), True), ("zh", False))
)
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
    schedule=InverseSquareRoot(peak=5e-3, warmup="2000 steps"),
    batch="8192 tokens",
    budget="8000 steps",
    evaluations={
        "likelihood": Likelihood("100 steps"),
        "sample": Sample(length=48, sampling=Sampling(temperature=0.0)),
        **GERMAN,
    },
    average=LastCheckpoints(10),
)
german = replace(experiment.data, turned=True)
tatoeba = replace(
    experiment,
    data=replace(
        experiment.data,
        corpus=Corpus("tatoeba", validation=0.05, test=0.05),
        tokenizer=Subwords(size=10_000),
        lengths=(10, 16, 32),
    ),
    evaluations=dict(experiment.evaluations) | CHINESE,
)
variants = {
    "german_english": replace(
        experiment, data=german, evaluations=dict(experiment.evaluations) | ENGLISH
    ),
    "short": replace(experiment, budget="3000 steps"),
    "english_chinese": tatoeba,
    "chinese_english": replace(
        tatoeba,
        data=replace(tatoeba.data, turned=True),
        evaluations=dict(experiment.evaluations)
        | {
            "translation": Translation(beam=Beam(5), every="4000 steps"),
            "greedy": Translation(every="4000 steps"),
        },
    ),
}
