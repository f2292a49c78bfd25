"""Any field is changed by its dotted name; what fits none is named."""

from dataclasses import replace

import pytest

from lm_jax.data import Cooccurrences, PackedDocuments, TokenStream
from lm_jax.errors import UserError
from lm_jax.experiment import Execution, differences
from lm_jax.experiment.overrides import override
from lm_jax.models import Gated, Rotary, Transformer
from lm_jax.optimizers import AdamW, Lion, Muon
from lm_jax.schedules import Constant, WarmupCosine
from lm_jax.sharding import Sharding
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes, Characters, Subwords, Words
from tests.experiment import RECIPE


@pytest.mark.parametrize(
    ("args", "change"),
    [
        ("--model.layers 6", {"model": RECIPE.model.clone(layers=6)}),
        ("--seed 3 --batch 24", {"seed": 3, "batch": 24}),
        ("--optimizer.b2 0.95", {"optimizer": replace(RECIPE.optimizer, b2=0.95)}),
        ("--optimizer.clip None", {"optimizer": replace(RECIPE.optimizer, clip=None)}),
        (
            "--schedule.warmup '5 steps'",
            {"schedule": replace(RECIPE.schedule, warmup="5 steps")},
        ),
        ("--data.context 32", {"data": replace(RECIPE.data, context=32)}),
        ("--fsdp 2", {"execution": Execution(Sharding(fsdp=2))}),
        ("--outputs wandb mlflow", {"outputs": ("wandb", "mlflow")}),
        ("--optimizer Lion", {"optimizer": Lion()}),
        (
            "--optimizer Muon --optimizer.beta 0.9",
            {"optimizer": Muon(beta=0.9)},
        ),
        ("--schedule Constant", {"schedule": Constant(peak=1e-3)}),
        (
            "--model.positions Rotary --model.positions.base 500 "
            "--model.feedforward Gated",
            {
                "model": RECIPE.model.clone(
                    positions=Rotary(base=500.0), feedforward=Gated()
                )
            },
        ),
        (
            "--data.tokenizer Subwords --data.tokenizer.size 500",
            {"data": replace(RECIPE.data, tokenizer=Subwords(size=500))},
        ),
        ("--model.dtype bfloat16", {"model": RECIPE.model.clone(dtype="bfloat16")}),
    ],
)
def test_any_field_is_overridden_by_its_dotted_name(args, change):
    import shlex

    changed = override(RECIPE, shlex.split(args), "train")
    assert differences(changed, replace(RECIPE, **change)) == []
    assert type(changed.model) is Transformer


def test_data_of_another_kind_takes_what_it_needs():
    text = TokenStream(Corpus("ptb", validation=0.2), Words(lowercase=True), 35)
    recipe = replace(RECIPE, data=text)
    args = ["--data", "PackedDocuments", "--data.corpus.test", "0.1"]
    corpus = replace(text.corpus, test=0.1)
    changed = override(recipe, args, "train")
    assert changed.data == PackedDocuments(corpus, text.tokenizer, 35)
    changed = override(recipe, ["--data", "Cooccurrences"], "train")
    assert changed.data == Cooccurrences(text.corpus, text.tokenizer)
    # What a kind doesn't take is as it would be without.
    recipe = replace(RECIPE, data=replace(text, tokenizer=Bytes()))
    changed = override(recipe, ["--data", "Cooccurrences"], "train")
    assert changed.data == Cooccurrences(text.corpus)
    tokenizer = override(RECIPE, ["--data.tokenizer", "Bytes"], "train").data.tokenizer
    assert tokenizer == Bytes()
    assert RECIPE.data.tokenizer == Characters()
    assert RECIPE.data.corpus == Corpus("tinyshakespeare")
    assert isinstance(RECIPE.optimizer, AdamW)
    assert isinstance(RECIPE.schedule, WarmupCosine)


def test_a_kind_without_defaults_is_refused_where_there_was_no_value():
    args = ["--published", "Published", "--published.value", "3"]
    assert override(RECIPE, args, "train").published.value == 3
    with pytest.raises(UserError, match=r"file, as Published\(value, source\)"):
        override(replace(RECIPE, published=None), args, "train")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model.layer", "6"], "--model.layers"),
        (["--model.layers", "many"], "many"),
        (["--model.norm", "batch"], "layer"),
    ],
)
def test_an_unknown_name_or_value_ends_with_2_and_the_nearest(args, words, capsys):
    with pytest.raises(SystemExit) as error:
        override(RECIPE, args, "train")
    assert error.value.code == 2
    said = capsys.readouterr()
    assert words in said.err + said.out


def test_an_unknown_kind_is_named_with_the_nearest_and_help_lists_them(capsys):
    with pytest.raises(UserError, match="(?s)'Lyon'.*'Lion'"):
        override(RECIPE, ["--optimizer", "Lyon"], "train")
    with pytest.raises(SystemExit) as end:
        override(RECIPE, ["--help"], "train")
    assert end.value.code == 0
    said = capsys.readouterr().out
    for kind in ("Lion", "Rotary", "Gated", "Subwords", "PackedDocuments"):
        assert kind in said
