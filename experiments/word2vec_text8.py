"""word2vec and GloVe on the beginning of text8.

Run:     ./launch.sh train experiments/word2vec_text8.py
         ./launch.sh vectors runs/word2vec_text8/base/seed0 --out vectors.txt
         the same with :tree, :cbow and :glove
Expect:  a minute or two each on two CPU cores. `bench vectors` trains much the
         same on the first 5 MB beside gensim: words that come 5 times or more,
         and GloVe's weights full from a count of 10, not 100. WordSim-353
         there, 3 seeds: skip-gram 0.503 +- 0.017 (gensim 0.493 +- 0.012), CBOW
         0.473 +- 0.010 (gensim 0.370 +- 0.006), GloVe 0.335 +- 0.029
         (experiments/results/bench_vectors.txt)
Source:  Mikolov et al. 2013a and b; Pennington et al. 2014
Data:    $LM_JAX_DATA/text8 (text8.prefix.gz: the first 6.9 MB of text8)
"""

from dataclasses import replace

from lm_jax.data import Cooccurrences, HuffmanTree, Noise, WordContexts
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import GlobalVectors, WordVectors
from lm_jax.objectives import BagOfWords, GloVe, SkipGram
from lm_jax.optimizers import AdamW, RMSProp
from lm_jax.schedules import WarmupLinear
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

corpus, words = Corpus("text8"), Words(size=15_000)
contexts = WordContexts(corpus, words, window=5, targets=Noise(5, shared=32))
adam = AdamW(weight_decay=0.0, clip=None)
experiment = Experiment(
    data=contexts,
    model=WordVectors(width=100),
    objective=SkipGram(),
    # Adam's rates, because the gradients of a batch of thousands of words are added up
    # at one place: word2vec's rate of 0.025 is for one word at a time. Without a mean
    # of gradients, a step touches the words of its batch alone.
    optimizer=RMSProp(clip=None),
    schedule=WarmupLinear(peak=1e-2),
    batch=4,
    budget="15 epochs",
    evaluations={"likelihood": Likelihood("5 epochs")},
)
variants = {
    "cbow": replace(experiment, objective=BagOfWords()),
    "tree": replace(
        experiment, data=replace(contexts, targets=HuffmanTree()), optimizer=adam
    ),
    "glove": replace(
        experiment,
        data=Cooccurrences(corpus, words, window=10),
        model=GlobalVectors(width=100),
        objective=GloVe(),
        optimizer=adam,
        batch=2,
    ),
}
