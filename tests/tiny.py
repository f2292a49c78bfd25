"""A text and an experiment small enough to train in a test."""

import itertools

TEXT = " ".join(
    f"{a} {b} the {c}."
    for a, b, c in itertools.product(
        ("the cat", "a dog", "my bird", "one fish"),
        ("sees", "eats", "likes", "hears"),
        ("mouse", "worm", "seed", "moon", "tree"),
    )
)

EXPERIMENT = '''"""A tiny model.

Run:     ./launch.sh train experiments/tiny.py
Expect:  nothing
Source:  none
"""

from dataclasses import replace

from lm_jax.averages import MovingAverage
from lm_jax.data import CarriedStream, TokenStream
from lm_jax.tokenizers import Characters
from lm_jax.text import Corpus
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import Experiment
from lm_jax.generation import Sampling
from lm_jax.models import Dropouts, Learned, Recurrent, Transformer
from lm_jax.objectives import NextToken
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine

experiment = Experiment(
    data=TokenStream(Corpus("text.txt"), Characters(), context=16),
    model=Transformer(layers=1, heads=2, width=16, positions=Learned(), dropout=0.1),
    objective=NextToken(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=1e-2, warmup="1 step"),
    batch=8,
    budget="12 steps",
    evaluations={
        "likelihood": Likelihood("4 steps"),
        "sample": Sample(prompt="the ", length=20, sampling=Sampling(temperature=0.5)),
    },
    average=MovingAverage(0.5),
)
variants = {
    "recurrent": replace(
        experiment,
        data=CarriedStream(Corpus("text.txt"), Characters(), 16, jitter=2),
        model=Recurrent(width=16, dropout=Dropouts(0.1, 0.1, 0.1, 0.1, 0.1)),
    )
}
'''


def write_tiny(folder):
    """Write text.txt and tiny.py into a folder."""
    (folder / "text.txt").write_text(TEXT)
    (folder / "tiny.py").write_text(EXPERIMENT)
