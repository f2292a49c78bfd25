"""Small models with random parameters, as they are read back from a run."""

import jax
import jax.numpy as jnp
import numpy as np

from lm_jax.data import Labelled, MaskedStream, TokenStream
from lm_jax.data.masking import MASK
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import Encoder, Learned, Transformer
from lm_jax.models.stack import initialise
from lm_jax.objectives import Classify, MaskedTokens, NextToken
from lm_jax.optimizers import AdamW
from lm_jax.runs.model import NeuralModel
from lm_jax.schedules import Constant
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words
from lm_jax.tokenizers.specials import with_mask
from tests.tiny import TEXT

SMALL = {"layers": 2, "heads": 2, "width": 16, "positions": Learned()}
CONTEXT = 24


def experiment(data, model, objective):
    return Experiment(
        data=data,
        model=model,
        objective=objective,
        optimizer=AdamW(),
        schedule=Constant(1e-3),
        batch=4,
        budget="1 step",
        evaluations={"likelihood": Likelihood("1 step")},
    )


def loaded(data, model, objective, tokenizer, labels=(), calls=(), scale=10.0):
    """A model whose random parameters are large enough to tell tokens apart."""
    model = model.filled(tokenizer.vocab_size, data_context(data))
    if labels:
        model = model.with_classes(len(labels))
    tokens = jnp.zeros((1, 4), jnp.int32)

    def run(model):
        hidden, _ = model.features(tokens, segments=tokens + 1)
        return [getattr(model, name)(hidden) for name in calls]

    params = initialise(model, jax.random.key(0), method=run)
    draw = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + scale * 0.02 * jnp.asarray(draw.normal(size=x.shape), x.dtype),
        params,
    )
    made = experiment(data, model, objective)
    return NeuralModel(
        made, tokenizer, model, params, data_context(data), 1, tuple(labels)
    )


def data_context(data):
    return data.lengths[-1] if isinstance(data, Labelled) else data.context


def decoder(model=None, tokenizer=None, end=False):
    """A causal model of characters."""
    tokenizer = tokenizer or Characters().train([TEXT], end)
    data = TokenStream(Corpus("text.txt"), Characters(), context=CONTEXT)
    model = model or Transformer(**SMALL)
    return loaded(data, model, NextToken(), tokenizer, calls=("logits",))


def encoder(kind=None, end=False):
    """A model of masked tokens."""
    kind = kind or Characters()
    tokenizer, _ = with_mask(kind.train([TEXT], end), MASK)
    data = MaskedStream(Corpus("text.txt"), kind, context=CONTEXT)
    model = Encoder(**SMALL)
    return loaded(data, model, MaskedTokens(), tokenizer, calls=("logits",))


def classifier(model, labels=("bad", "good"), objective=None, **data):
    """A model that tells classes of texts of words."""
    tokenizer = Words().train([TEXT], bool(data.get("pair")))
    data = Labelled(Corpus("text.csv"), Words(), lengths=(8, CONTEXT), **data)
    objective = objective or Classify()
    return loaded(data, model, objective, tokenizer, labels, ("class_logits",))
