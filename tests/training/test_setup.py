"""What can't go together is refused in one message, before anything is compiled."""

from dataclasses import replace

import flax.linen as nn
import pytest

from lm_jax.data import CarriedStream, MaskedStream, SpanCorruption, WordContexts
from lm_jax.errors import UserError
from lm_jax.experiment import load
from lm_jax.models import (
    ConvEncoder,
    Encoder,
    EncoderDecoder,
    Model,
    MoE,
    MuP,
    Recurrent,
    Transformer,
    WordVectors,
    mup_rates,
)
from lm_jax.objectives import (
    MaskedTokens,
    NextToken,
    ObjectiveBase,
    Seq2Seq,
    SkipGram,
)
from lm_jax.optimizers import AdamW
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters
from lm_jax.training import resolved
from lm_jax.training.setup import set_up
from tests.tiny import write_tiny


class Bare(Model):
    def features(self, tokens):
        return tokens, None


TEXT = Corpus("text.txt")
SMALL = {"layers": 1, "heads": 2, "width": 16}
CASES = {
    "a decoder's objective on an encoder": (
        {"model": Encoder(**SMALL)},
        r"Encoder sees the whole text\. Models that fit: .*Transformer",
    ),
    "an encoder's objective on a decoder": (
        {
            "data": MaskedStream(TEXT, Characters(), 16),
            "objective": MaskedTokens(),
        },
        r"Transformer sees what came before\. Models that fit: Encoder\.",
    ),
    "an encoder's objective on a sentence encoder": (
        {
            "data": MaskedStream(TEXT, Characters(), 16),
            "model": ConvEncoder(),
            "objective": MaskedTokens(),
        },
        'calls "logits", which ConvEncoder lacks. Models that fit: Encoder',
    ),
    "a decoder's objective on an encoder-decoder": (
        {"model": EncoderDecoder(**SMALL)},
        'EncoderDecoder reads "source" too, which NextToken doesn\'t hand on',
    ),
    "seq2seq on a decoder": (
        {
            "data": SpanCorruption(TEXT, Characters(), 32),
            "objective": Seq2Seq(),
        },
        'Seq2Seq calls "source in features".*Models that fit: EncoderDecoder\\.',
    ),
    "muP's rates for another width": (
        {
            "model": Transformer(**SMALL, initial=MuP(base_width=8)),
            "optimizer": AdamW(rates=mup_rates(Transformer(width=32), 8)),
        },
        "8 / 16 = 0.5",
    ),
    "norms of halves that none stands before": (
        {
            "model": Transformer(
                **SMALL, norm_at="post", parallel=True, parallel_norms=True
            )
        },
        "model.norm_at='post' nothing is normalised before them",
    ),
    "data without a field, and what gives it": (
        {"data": MaskedStream(TEXT, Characters(), 16)},
        'NextToken reads "targets", and the examples of MaskedStream have "inputs", '
        '"originals".*Data that gives it: TokenStream, CarriedStream',
    ),
    "word vectors on a text": (
        {"model": WordVectors(16), "objective": SkipGram()},
        'SkipGram reads "near".*gives it: WordContexts',
    ),
    "a decoder's objective on word vectors' data": (
        {"data": WordContexts(TEXT, Characters(), words=256)},
        'NextToken reads "targets"',
    ),
    "an objective of another model": (
        {
            "data": WordContexts(TEXT, Characters(), words=256),
            "objective": SkipGram(),
        },
        'calls "outputs", which Transformer lacks. Models that fit: WordVectors\\.',
    ),
    "a state carried by a Transformer": (
        {"data": CarriedStream(TEXT, Characters(), 16)},
        "no state of constant size",
    ),
    "a segment longer than the stream": (
        {
            "data": CarriedStream(TEXT, Characters(), 512),
            "model": Recurrent(width=16),
        },
        "too short for data.context=512",
    ),
    "fewer experts than serve a token": (
        {"model": Transformer(**SMALL, feedforward=MoE(experts=2, k=3))},
        "experts",
    ),
    "a module that is no model": (
        {"model": nn.Dense(3)},
        r"Dense is no model .* lacks filled, .*Write `class Dense\(lm_jax.models.Model",
    ),
    "a model that can't be called so": (
        {"model": Bare()},
        'NextToken calls "positions in features", .*, "logits", which Bare lacks',
    ),
    "an objective without a loss": (
        {"objective": ObjectiveBase()},
        "ObjectiveBase lacks predict, __call__, scores",
    ),
}


@pytest.mark.parametrize(("changes", "said"), CASES.values(), ids=CASES)
def test_what_does_not_fit_is_refused(changes, said, tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resolved, "initialise", None)  # nothing is traced
    experiment = replace(load("tiny.py").experiment, **changes)
    with pytest.raises(UserError, match=said):
        set_up(experiment)


def test_a_vocabulary_of_one_word_is_refused(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    (tmp_path / "text.txt").write_text("a" * 2000)
    monkeypatch.chdir(tmp_path)
    experiment = replace(load("tiny.py").experiment, objective=NextToken())
    with pytest.raises(UserError, match="nothing to predict"):
        set_up(experiment)


def test_the_seed_decides_the_first_parameters_and_the_order(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    experiment = load("tiny.py").experiment
    kernels, rows = [], []
    for seed in (0, 0, 1):
        setup = set_up(replace(experiment, seed=seed))
        params = setup.first_state().params
        kernels.append(params["block_0"]["up"]["kernel"].sum())
        rows.append(setup.order.batch(0)["inputs"].tolist())
    assert kernels[0] == kernels[1] != kernels[2]
    assert rows[0] == rows[1] != rows[2]
