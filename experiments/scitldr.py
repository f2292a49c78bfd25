"""Abstracts of papers in one sentence: TLDRs by small models from scratch.

Run:     ./launch.sh train experiments/scitldr.py            (and :decoder)
         ./launch.sh evaluate runs/scitldr/base/seed0 --split test --evaluation rouge
         ./launch.sh evaluate runs/scitldr/base/seed0 --split test --evaluation lead
         ./launch.sh generate runs/scitldr/decoder/seed0 --to-end --prompt "We show
         that ... TL;DR: "     (the prompt of the decoder ends in a line end, TL;DR: )
Expect:  not run to its end yet. The first sentence of each abstract (lead-1) has
         0.282, 0.113 and 0.231 of ROUGE-1, 2 and L on test, 0.272, 0.105 and 0.218 on
         validation; by the rule of SciTLDR's script (below) 0.282, 0.105 and 0.224 on
         test
Source:  Cachola et al. 2020 (arXiv 2004.15011), SciTLDR with abstracts alone: BART
         43.3, 20.8 and 35.0 of ROUGE-1, 2 and L (recalled, not read again). Its BART
         was trained on 160 GB of text before; here 1,992 abstracts are all there is.
         Its script takes all three from the reference with the largest ROUGE-1, and
         we, as rouge-score does, each from the reference where it is largest
Data:    $LM_JAX_DATA/scitldr ({train,dev,test}.jsonl: source sentences and targets).
         A paper of dev and test has up to four targets: all are references, and the
         likelihood is over all of them
Extra:   summaries (LM_JAX_EXTRAS=summaries)
"""

from dataclasses import replace

from lm_jax.data import Answers, TextPairs
from lm_jax.evaluation import Lead, Likelihood, Rouge, Sample
from lm_jax.experiment import Experiment
from lm_jax.generation import Beam, Sampling
from lm_jax.models import EncoderDecoder, Gated, Relative, Rotary, Transformer
from lm_jax.objectives import NextToken, Seq2Seq
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Subwords

corpus, tokenizer = Corpus("scitldr"), Subwords(size=4000)
experiment = Experiment(
    data=TextPairs(corpus, tokenizer, lengths=(256, 384), target_length=48),
    model=EncoderDecoder(
        layers=2, heads=4, width=128, positions=Relative(), norm="rms", dropout=0.2
    ),
    objective=Seq2Seq(label_smoothing=0.1),
    optimizer=AdamW(b2=0.98, weight_decay=0.1, clip=1.0),
    schedule=WarmupCosine(peak=2e-3, warmup="100 steps"),
    batch="4096 tokens",
    budget="12 epochs",
    evaluations={
        "likelihood": Likelihood("1 epoch"),
        "rouge": Rouge(beam=Beam(4), length=48, every="12 epochs"),
        "greedy": Rouge(length=48, every="12 epochs"),
        "lead": Lead(every="12 epochs"),
        "sample": Sample(length=48, sampling=Sampling(temperature=0.0)),
    },
)
variants = {
    "decoder": replace(
        experiment,
        data=Answers(corpus, tokenizer, "", between="\nTL;DR: ", lengths=(288, 448)),
        model=Transformer(
            layers=4,
            heads=4,
            width=128,
            positions=Rotary(),
            norm="rms",
            feedforward=Gated(),
            dropout=0.2,
        ),
        objective=NextToken(label_smoothing=0.1),
        evaluations=dict(experiment.evaluations) | {"sample": Sample(length=0)},
    ),
}
