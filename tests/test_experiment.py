import json
from dataclasses import replace
from pathlib import Path

import pytest

from lm_jax.data import Cooccurrences, PackedDocuments, TokenStream
from lm_jax.errors import UserError
from lm_jax.experiment import differences, flatten, from_json, load, save, to_json
from lm_jax.models import Gated, Rotary, Transformer
from lm_jax.optimizers import AdamW, Lion, Muon
from lm_jax.overrides import override
from lm_jax.schedules import Constant, WarmupCosine
from lm_jax.sharding import Sharding
from lm_jax.text import Corpus
from lm_jax.tokenizers import Bytes, Characters, Subwords, Words

ROOT = Path(__file__).parent.parent
FILES = sorted(ROOT.glob("experiments/*.py"))
RECIPE = load(str(ROOT / "experiments/gpt_shakespeare.py")).experiment


def every_experiment():
    for file in FILES:
        base = load(str(file))
        yield base.experiment
        import sys

        yield from sys.modules[f"experiment_{file.stem}"].variants.values()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_docstring_says_how_and_what_to_expect(file):
    text = file.read_text()
    for word in ("Run:", "Expect:", "Source:", f"experiments/{file.name}"):
        assert word in text.split('"""')[1]


def test_json_rebuilds_the_same_experiment():
    count = 0
    for experiment in every_experiment():
        again = from_json(json.loads(save(experiment)))
        assert again == experiment
        assert type(again.model) is type(experiment.model)
        count += 1
    assert count > 3


def test_json_of_a_type_that_is_gone_is_refused():
    document = to_json(RECIPE)
    document["objective"]["type"] = "lm_jax.objectives.next_token:LastToken"
    with pytest.raises(UserError, match="LastToken"):
        from_json(document)
    document = to_json(RECIPE)
    document["optimizer"]["warp"] = 9
    with pytest.raises(UserError, match="warp"):
        from_json(document)


def test_a_value_defined_in_the_experiment_file_comes_back(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass, replace\n"
        "from lm_jax.models.positions import NoPositions\n"
        "from lm_jax.experiment import load\n"
        "@dataclass(frozen=True)\n"
        "class Mine(NoPositions):\n"
        "    size: int = 3\n"
        f"base = load({str(FILES[0])!r}).experiment\n"
        "experiment = replace(base, model=base.model.clone(positions=Mine(5)))\n"
    )
    experiment = load(str(file)).experiment
    again = from_json(json.loads(save(experiment)))
    assert again.model.positions.size == 5
    assert not differences(again, experiment)


def test_differences_name_what_changed_and_only_that():
    other = replace(
        RECIPE, seed=1, model=RECIPE.model.clone(positions=Rotary(base=500.0))
    )
    assert differences(RECIPE, RECIPE) == []
    assert differences(RECIPE, other) == [
        ("model.positions", "Learned", "Rotary"),
        ("model.positions.length", "0", None),
        ("seed", "0", "1"),
        ("model.positions.base", None, "500.0"),
    ]


def test_flatten_reaches_every_leaf():
    flat = flatten(RECIPE)
    assert flat["model.layers"] == "4"
    assert flat["data.corpus.source"] == "'tinyshakespeare'"
    assert flat["optimizer"] == "AdamW"
    assert not [name for name in flat if name.endswith((".parent", ".name"))]


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
        ("--sharding.fsdp 2", {"sharding": Sharding(fsdp=2)}),
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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = Charactrs()", "line 2: NameError"),
        ("from lm_jax.models import Transformer; Transformer(layer=2)", "line 2"),
        ("x = (", "line 2: SyntaxError"),
    ],
)
def test_a_mistake_in_the_file_is_one_message_with_its_line(line, words, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(f'"""Bad."""\n{line}\n')
    with pytest.raises(UserError, match=words):
        load(str(file))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("experiments/gpt_shakespear.py", "gpt_shakespeare.py"),
        ("experiments/gpt_shakespeare.py:rotari", "Did you mean 'rotary'"),
    ],
)
def test_an_unknown_file_or_variant_is_named_with_the_nearest(address, words):
    with pytest.raises(UserError, match="(?s)" + words):
        load(address)
