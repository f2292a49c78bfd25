"""A model that begins as a Hugging Face folder: what is taken, resized and refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from lm_jax.__main__ import main
from lm_jax.data import Labelled, MaskedStream, TokenStream
from lm_jax.errors import UserError
from lm_jax.evaluation import Accuracy, Likelihood
from lm_jax.experiment import FromHuggingFace, load
from lm_jax.models import Classifier, Learned, Mean
from lm_jax.objectives import Classify, MaskedTokens
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Pretrained
from lm_jax.training.setup import set_up
from tests.exchange.made import MODELS, VOCAB, write_model, write_tokenizer
from tests.tiny import write_tiny

MODEL = MODELS["gpt2"].clone(vocab_size=0)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A folder "gpt2", with its parameters, and the tiny experiment."""
    folder, here = tmp_path_factory.mktemp("checkpoints"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    write_tokenizer(Path("gpt2"))
    yield write_model(Path("gpt2"), MODELS["gpt2"])
    os.chdir(here)


def begun(model=MODEL, path="gpt2", tokenizer=None, context=16, **named):
    data = TokenStream(
        Corpus("text.txt"), tokenizer or Pretrained(path), context=context
    )
    initial = FromHuggingFace(path, **named)
    tiny = load("tiny.py").experiment
    experiment = replace(tiny, data=data, model=model, initial=initial, average=None)
    return set_up(experiment)


def first(setup):
    return {
        path: np.asarray(array)
        for path, array in flatten_dict(setup.first_state().params, sep="/").items()
    }


def refusal(*args, **named):
    with pytest.raises(UserError) as refused:
        begun(*args, **named)
    return str(refused.value)


def test_every_parameter_is_that_of_the_checkpoint(folder):
    setup = begun()
    params = first(setup)
    assert params.keys() == folder.keys()
    for path, array in params.items():
        np.testing.assert_array_equal(array, folder[path], err_msg=path)
    assert all(what == "taken" for _, what in setup.start.table)


def test_a_longer_context_and_a_padded_vocabulary_keep_what_both_have():
    padded = write_model(Path("padded"), MODELS["gpt2"].clone(vocab_size=320))
    write_tokenizer(Path("padded"))
    wide = MODEL.clone(positions=Learned(96))
    named = {"context": 96, "path": "padded"}
    said = refusal(wide, **named)
    assert "embedding: 320 x 24 there, 300 x 24 here" in said
    assert "positions/embedding: 64 x 24 there, 96 x 24 here" in said
    params = first(begun(wide, **named, resized=("^embedding$", "^positions/")))
    np.testing.assert_array_equal(params["embedding"], padded["embedding"][:300])
    positions = params["positions/embedding"]
    np.testing.assert_array_equal(positions[:64], padded["positions/embedding"])
    assert len(positions) == 96 and (positions[64:] != 0).any()
    up = "block_1/up/kernel"
    np.testing.assert_array_equal(params[up], padded[up])


@pytest.mark.slow
def test_a_tokenizer_with_more_tokens_is_resized_and_another_is_not(folder):
    more = Path("more")
    write_tokenizer(more)
    document = json.loads((more / "tokenizer.json").read_text())
    added = dict(document["added_tokens"][0], id=VOCAB, content="<|user|>")
    document["added_tokens"].append(added)
    (more / "tokenizer.json").write_text(json.dumps(document))
    said = refusal(tokenizer=Pretrained("more"))
    assert "embedding: has a row for each token, and the checkpoint's" in said
    setup = begun(tokenizer=Pretrained("more"), resized=("^embedding$",))
    table = first(setup)["embedding"]
    assert len(table) == VOCAB + 1
    np.testing.assert_array_equal(table[:VOCAB], folder["embedding"])

    said = refusal(tokenizer=Characters(), resized=("^embedding$",))
    assert "the checkpoint's tokens are others" in said
    setup = begun(tokenizer=Characters(), new=("^embedding$",))
    params = first(setup)
    assert ("embedding", "new") in setup.start.table
    up = "block_0/up/kernel"
    np.testing.assert_array_equal(params[up], folder[up])


def test_a_classifier_begins_as_the_body(folder):
    model = Classifier(MODEL, Mean())
    tiny = load("tiny.py").experiment
    lines = Path("texts.jsonl")
    lines.write_text(
        "".join(
            json.dumps({"text": f"a dog {word} {k}", "label": word}) + "\n"
            for k in range(20)
            for word in ("sees", "eats")
        )
    )
    experiment = replace(
        tiny,
        data=Labelled(
            Corpus(str(lines), validation=0.25), Pretrained("gpt2"), lengths=(16,)
        ),
        model=model,
        objective=Classify(),
        evaluations={"likelihood": Accuracy("4 steps")},
        initial=FromHuggingFace("gpt2", new=("^class_head/",)),
        average=None,
    )
    params = first(set_up(experiment))
    for path in ("embedding", "block_1/down/kernel"):
        np.testing.assert_array_equal(params[path], folder[path])


def test_fields_that_change_no_shape_are_said():
    setup = begun(MODEL.clone(norm_epsilon=1e-6))
    assert ("model.norm_epsilon", "0.001 there, 1e-06 here") in setup.start.table


def test_another_family_and_another_size_are_one_message():
    """All that doesn't fit, in one message, before anything is made."""
    said = refusal(MODEL.clone(layers=3, use_bias=False))
    assert "block_2/up/kernel: the checkpoint has none of this path" in said
    assert "block_0..1/up/bias: of the checkpoint, and of no use here" in said
    assert "Parameters of gpt2 and of this model don't fit" in said
    data = MaskedStream(Corpus("text.txt"), Pretrained("gpt2"), context=16)
    encoder = MODELS["bert"].clone(vocab_size=0)
    tiny = load("tiny.py").experiment
    experiment = replace(
        tiny,
        data=data,
        model=encoder,
        objective=MaskedTokens(),
        evaluations={"likelihood": Likelihood("4 steps")},
        initial=FromHuggingFace("gpt2"),
    )
    with pytest.raises(UserError, match="head/kernel: the checkpoint has none"):
        set_up(experiment)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a | {"more.weight": a["transformer.wte.weight"]}, "more.weight: in"),
        (
            lambda a: {k: v for k, v in a.items() if "ln_f.bias" not in k},
            "ln_f.bias: missing",
        ),
    ],
)
def test_a_checkpoint_with_missing_or_extra_arrays_is_refused(change, said):
    write_model(Path("broken"), MODELS["gpt2"])
    write_tokenizer(Path("broken"))
    file = Path("broken/model.safetensors")
    save_file(change(load_file(file)), file)
    assert said in refusal(path="broken")


def test_what_is_not_there_is_named():
    assert "There is no folder nowhere" in refusal(
        path="nowhere", tokenizer=Pretrained("gpt2")
    )
    assert "'^embeding$' in initial.resized matches no" in refusal(
        resized=("^embeding$",)
    )


@pytest.mark.slow
def test_a_run_that_was_begun_needs_the_folder_no_more(folder, capsys):
    """By the command line, trained, written down, and gone on with."""
    Path("gpt2").rename("moved")
    experiment = (
        Path("tiny.py").read_text().replace("Characters()", "Pretrained('moved')")
    )
    experiment = experiment.replace("import Characters", "import Pretrained")
    model = "Transformer(layers=2, heads=4, width=24, positions=Learned(64), "
    model += "use_bias=True, norm_epsilon=1e-3)"
    old = "Transformer(layers=1, heads=2, width=16, positions=Learned(), dropout=0.1)"
    Path("own.py").write_text(experiment.replace(old, model))
    asked = ["--initial", "FromHuggingFace", "--initial.path", "moved", "--run", "run"]
    assert main(["train", "own.py", *asked]) == 0
    assert "block_0..1/up/kernel" in capsys.readouterr().out
    file = Path("moved/model.safetensors")
    file.rename("away")
    try:
        assert main(["train", "own.py", *asked]) == 0
    finally:
        Path("away").rename(file)
        Path("moved").rename("gpt2")
