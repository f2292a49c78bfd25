"""What moves a decision: exact where a model is linear, captum's where it isn't."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.adapting import quantize
from lm_jax.errors import UserError
from lm_jax.inspection.attributions import (
    GAP,
    MOST_POINTS,
    explain,
    gradients,
    integrated_gradients,
    row_of,
)
from lm_jax.models import (
    GRU,
    BagOfVectors,
    BiRecurrent,
    Classifier,
    ConvEncoder,
    Encoder,
    GatedConv,
    Mean,
    Tagger,
    Transformer,
)
from lm_jax.objectives import AnswerQuestions, FindSpan, LabelTokens
from lm_jax.tokenizers import Pretrained
from tests.exchange.made import write_bert_tokenizer
from tests.inspection.made import SMALL, classifier, decoder

TEXT = "the cat sees the mouse."
CONV = ConvEncoder(width=8, kernels=(2, 3), maps=6)
BODIES = {
    "convolutions": CONV,
    "decoder": Classifier(Transformer(**SMALL), Mean()),
    "encoder": Classifier(Encoder(**SMALL), Mean()),
    "recurrent": Classifier(BiRecurrent(GRU(), width=8), Mean()),
    "windows": Classifier(Transformer(**SMALL), Mean(), window=2, stride=1),
    "gated": Classifier(GatedConv(width=8), Mean()),
}


def logits_of(model, tokens):
    segments = jnp.ones_like(tokens)

    def run(model):
        return model.class_logits(model.features(tokens, segments=segments)[0])

    return model.model.apply({"params": model.params}, method=run)


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_attributions_add_up_to_the_difference_from_the_baseline(name):
    model = classifier(BODIES[name])
    found = explain(model, [TEXT])
    ids = model.tokenizer.encode(TEXT)
    logits = np.asarray(logits_of(model, jnp.asarray(ids)[None])[0])
    np.testing.assert_allclose(found.outputs, logits, atol=1e-4)
    assert found.chosen == logits.argmax()
    zeros = model.params | {"embedding": jnp.zeros_like(model.params["embedding"])}
    base = jax.tree.map(lambda x: x, model)
    base = type(model)(**vars(model) | {"params": zeros})
    below = float(logits_of(base, jnp.asarray(ids)[None])[0, found.chosen])
    difference = float(logits[found.chosen]) - below
    assert found.difference == pytest.approx(difference, abs=1e-4)
    off = abs(found.integrated.sum() - difference)
    assert off <= 2e-3 * np.abs(found.integrated).sum()
    # Where bends leave more than a hundredth of it, all points were taken.
    assert found.gap == pytest.approx(off / abs(difference), abs=1e-2)
    assert (found.gap <= GAP) != (found.points == MOST_POINTS)


def test_of_a_linear_model_both_are_exact():
    model = classifier(Classifier(BagOfVectors(width=8), Mean()))
    found = explain(model, [TEXT], "bad")
    vectors = np.asarray(model.params["embedding"])[model.tokenizer.encode(TEXT)]
    kernel = np.asarray(model.params["class_head"]["kernel"])[:, 0]
    exact = vectors @ kernel / len(vectors)
    np.testing.assert_allclose(found.gradient_times_input, exact, atol=1e-5)
    np.testing.assert_allclose(found.integrated, exact, atol=1e-5)
    assert found.gap < 1e-4
    assert found.probabilities.sum() == pytest.approx(1)
    assert [w for w, _ in found.by_word(exact)] == TEXT.split()
    few = replace(model, params=quantize(model.params))
    told = explain(few, [TEXT], "bad")
    np.testing.assert_allclose(told.integrated, exact, atol=1e-2)
    assert told.gap < 1e-4


def test_a_token_that_nothing_depends_on_has_nothing():
    model = classifier(BODIES["convolutions"])
    table = model.params["embedding"].at[model.tokenizer.encode("cat")[0]].set(0.0)
    model.params["embedding"] = table
    found = explain(model, [TEXT])
    assert found.integrated[1] == 0 and found.gradient_times_input[1] == 0
    assert (found.integrated[[0, 2, 4]] != 0).any()


def test_a_pair_is_read_as_in_training():
    body = Classifier(BagOfVectors(width=8), Mean(), apart=True)
    model = classifier(body, pair="second")
    row = row_of(model, ["the cat", "a dog sees"])
    assert list(row.segments) == [1, 1, 1, 2, 2, 2, 2]
    assert model.tokenizer.end_id == row.tokens[2] == row.tokens[6]
    found = explain(model, ["the cat", "a dog sees"])
    assert len(found.integrated) == 7 and found.gap <= GAP
    with pytest.raises(UserError, match="reads pairs: give --text two texts, not 1"):
        explain(model, ["the cat"])


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("context", [24, 9])
def test_each_token_of_a_pair_has_its_word(tmp_path, doubled, context):
    """Whatever a checkpoint's tokenizer puts between texts: one [SEP], or two."""
    write_bert_tokenizer(tmp_path, doubled=doubled)
    tokenizer = Pretrained(str(tmp_path)).train(())
    body = Classifier(BagOfVectors(width=8), Mean(), apart=True)
    model = classifier(body, pair="second")
    model = replace(model, tokenizer=tokenizer, context=context)
    row = row_of(model, ["a b c", "d e f"])
    assert len(row.words) == len(row.tokens) == len(row.segments)
    letters = np.isin(row.tokens, tokenizer.encode("a b c d e f"))
    assert (
        len(set(row.words[letters]))
        == letters.sum()
        == (6 if context > 9 else 6 - doubled)
    )
    assert not set(row.words[letters]) & set(row.words[~letters])


def test_what_is_beyond_the_longest_row_is_cut_and_counted():
    model = classifier(CONV)
    found = explain(model, ["the cat " * 20])
    assert found.row.cut == 40 - model.context
    assert len(found.integrated) == model.context


def test_what_cannot_be_explained_is_refused():
    model = classifier(CONV)
    with pytest.raises(UserError, match="--label 'god' is no class.*mean 'good'"):
        explain(model, [TEXT], "god")
    with pytest.raises(UserError, match="reads one text: give one, not 2"):
        explain(model, [TEXT, TEXT])
    with pytest.raises(UserError, match="tells no class"):
        explain(decoder(), [TEXT])
    with pytest.raises(UserError, match="has no token"):
        explain(model, [""])
    for objective in (LabelTokens(), FindSpan(), AnswerQuestions()):
        of_parts = replace(model.experiment, objective=objective)
        parts = replace(model, model=Tagger(BagOfVectors(8)), experiment=of_parts)
        said = f"trained by {type(objective).__name__}: what it tells is of parts"
        with pytest.raises(UserError, match=said):
            explain(parts, [TEXT])


def test_captum_finds_the_same():
    """A copy of the convolutions in PyTorch, asked by captum."""
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    model = classifier(CONV)
    params = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), model.params)

    def forward(x):
        pooled = []
        for size in CONV.kernels:
            layer = params[f"filters_{size}"]
            cut = x.unfold(1, size, 1).transpose(2, 3).flatten(2)
            made = torch.relu(cut @ layer["kernel"] + layer["bias"])
            pooled.append(made.amax(1))
        head = params["lm_head"]
        return torch.cat(pooled, -1) @ head["kernel"] + head["bias"]

    ids = model.tokenizer.encode(TEXT)
    x = params["embedding"][torch.tensor(ids)][None]
    found = explain(model, [TEXT])
    with torch.no_grad():
        np.testing.assert_allclose(forward(x)[0].numpy(), found.outputs, atol=1e-4)
    theirs = attr.IntegratedGradients(forward).attribute(
        x, target=found.chosen, n_steps=1000, method="gausslegendre"
    )
    gradient = functools.partial(
        gradients,
        *(model.model, model.params, x[0].numpy(), found.row.segments, found.chosen),
    )
    ours = integrated_gradients(x[0].numpy(), gradient, 1000)
    np.testing.assert_allclose(ours, theirs[0].sum(-1).numpy(), atol=5e-4)
    x.requires_grad_()
    theirs = attr.InputXGradient(forward).attribute(x, target=found.chosen)
    theirs = theirs[0].detach().sum(-1).numpy()
    np.testing.assert_allclose(found.gradient_times_input, theirs, atol=1e-4)
