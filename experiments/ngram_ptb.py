"""Modified Kneser-Ney 5-grams on the words of the Penn Treebank.

Run:     ./launch.sh train experiments/ngram_ptb.py
         ./launch.sh evaluate runs/ngram_ptb/base/seed0 --split test
Expect:  148.02 validation and 141.18 test perplexity, in a few seconds
Source:  Mikolov et al. 2011: 141.2 test perplexity (5-gram, modified Kneser-Ney)
Data:    $LM_JAX_DATA/ptb (Mikolov's ptb.{train,valid,test}.txt.gz)
"""

from dataclasses import replace

from lm_jax.counting import AddK, KneserNey, NGram, StupidBackoff
from lm_jax.data import TokenStream
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment, Published
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = CountExperiment(
    data=TokenStream(Corpus("ptb"), Words()),
    model=NGram(order=5, smoothing=KneserNey()),
    evaluations={
        "likelihood": Likelihood(),
        "sample": Sample(prompt="the company", length=40),
    },
    published=Published(141.2, "Mikolov et al. 2011", "test", "perplexity"),
)
variants = {
    "unigram": replace(experiment, model=NGram(1, AddK(1.0))),
    "plain": replace(experiment, model=NGram(5, KneserNey(discounts=1))),
    "backoff": replace(experiment, model=NGram(5, StupidBackoff())),
}
