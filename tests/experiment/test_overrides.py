"""Any field is changed by its dotted name; what fits none is named."""

import re
import shlex
from dataclasses import dataclass, replace

import pytest

from lm_jax.commands.fields_help import fields_help
from lm_jax.data import Cooccurrences, PackedDocuments, TokenStream
from lm_jax.errors import UserError
from lm_jax.experiment import (
    Execution,
    FromRun,
    Named,
    Published,
    differences,
    load,
)
from lm_jax.experiment.overrides import override
from lm_jax.models import Gated, Rotary, Transformer
from lm_jax.objectives import NextToken
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


def test_a_kind_without_defaults_takes_them_from_flags():
    figure = ["--published.value", "3", "--published.source", "a paper"]
    for args in (
        ["--published", "Published", *figure],
        [*figure, "--published=Published"],
    ):
        changed = override(replace(RECIPE, published=None), args, "train").published
        assert changed == Published(3.0, "a paper")
    assert override(RECIPE, figure[:2], "train").published.value == 3
    with pytest.raises(UserError, match="Add --published.value VALUE and"):
        override(replace(RECIPE, published=None), ["--published", "Published"], "train")


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("--optimizer=Lion", "--optimizer Lion"),
        ("--model.layers=2 --seed=4", "--model.layers 2 --seed 4"),
        ("--schedule.warmup='5 steps'", "--schedule.warmup '5 steps'"),
        ("--data.tokenizer.unknown", "--data.tokenizer.unknown True"),
        ("--model.tied --seed 1", "--model.tied True --seed 1"),
        ("--model.qkv-bias", "--model.qkv-bias True"),
        ("--model.qkv_bias None", ""),
        ("--scan", "--execution.compute.scan True"),
        ("--fsdp=2 --keep=1", "--execution.sharding.fsdp 2 --execution.keep 1"),
        ("--initial None", ""),
        ("--initial=None", ""),
        ("--average None --patience=None", ""),
        ("--model.use_bias true", "--model.use-bias True"),
        ("--optimizer.b2 0.9 --optimizer AdamW", "--optimizer AdamW --optimizer.b2 .9"),
        ("--frozen embedding True .* False", "--frozen=embedding True .* False"),
        ("--evaluations.sample.prompt=--x", "--evaluations.sample.prompt=--x"),
        ("--schedule.final 1e-3", "--schedule.final=0.001"),
        ("--model Transformer --model.layers 2", "--model.layers 2"),
    ],
)
def test_an_option_may_be_written_in_several_ways(typed, same):
    one, other = (
        override(RECIPE, shlex.split(args), "train") for args in (typed, same)
    )
    assert one == other


def test_what_an_equals_sign_says_is_what_is_there():
    args = ["--evaluations.sample.prompt=a=b --c", "--optimizer=Lion", "--initial=None"]
    changed = override(replace(RECIPE, initial=FromRun("x")), args, "train")
    assert changed.evaluations["sample"].prompt == "a=b --c"
    assert isinstance(changed.optimizer, Lion) and changed.initial is None
    told = replace(RECIPE, outputs=("wandb",))
    assert override(told, ["--outputs"], "t").outputs == ()
    assert override(RECIPE, ["--data.tokenizer.unknown"], "t").data.tokenizer.unknown


def test_values_below_a_tuple_are_changed_by_their_place():
    rules = RECIPE.execution.sharding.rules
    flag = "--execution.sharding.rules"
    args = [f"{flag}.0.0", "x$", f"{flag}.1.1", "fsdp", "None"]
    changed = override(RECIPE, args, "train").execution.sharding.rules
    assert changed == (("x$", rules[0][1]), (rules[1][0], ("fsdp", None)), *rules[2:])


# What is typed, and what the message says; the advice after "mean" works when typed.
REFUSED = [
    ("--lr 3e-4", "--schedule.peak 3e-4"),
    ("--learning-rate=1", "--schedule.peak 1"),
    ("--epochs 3", "--budget '3 epochs'"),
    ("--budgt '2 steps'", "Did you mean --budget '2 steps'?"),
    ("--max_steps 70", "--budget '70 steps'"),
    ("--bs 8", "--batch 8"),
    ("--batch-size 8", "--batch 8"),
    ("--dropout 0.1", "--model.dropout 0.1"),
    ("--n_layer 2", "--model.layers 2"),
    ("--block-size 32", "--data.context 32"),
    ("--wd 0.1", "--optimizer.weight-decay 0.1"),
    ("--dtype bfloat16", "--model.dtype bfloat16?"),
    ("--dtype uint32", "--data.corpus.dtype uint32?"),
    ("--prompt 'O ROMEO'", "--evaluations.sample.prompt 'O ROMEO'"),
    ("--model.postions Rotary", "--model.positions Rotary"),
    ("--model.feedfoward Gated", "--model.feedforward Gated"),
    ("--data.tokeniser Bytes", "--data.tokenizer Bytes"),
    ("--optimiser Lion", "--optimizer Lion"),
    ("--intial None", "--initial None"),
    ("--model.layer 6", "--model.layers 6"),
    ("--evaluations.sampel.length 0", "--evaluations.sample.length 0"),
    ("--fdsp 2", "--fsdp 2"),
    ("--modle.width 8", "--model.width 8"),
    ("--data.corpus.name a.txt", "Did you mean --data.corpus.source a.txt?"),
    ("--data.corpus.sorce a.txt", "Did you mean --data.corpus.source a.txt?"),
]


@pytest.mark.parametrize(("typed", "advice"), REFUSED)
def test_an_unknown_name_is_answered_with_what_works(typed, advice):
    with pytest.raises(UserError) as refused:
        override(RECIPE, shlex.split(typed), "train FILE")
    said = str(refused.value)
    assert advice in said and "\n" not in said
    advised = said.split("Did you mean ")[1].split("?")[0].split(" or ")[0]
    assert override(RECIPE, shlex.split(advised), "train") is not RECIPE


def test_of_a_name_like_none_beside_it_all_of_these_are_told():
    with pytest.raises(UserError) as refused:
        override(RECIPE, ["--data.corpus.nme", "X"], "train FILE")
    assert "Did you mean" not in str(refused.value)
    assert "--data.corpus has source, " in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            "--model.layers many",
            "--model.layers takes a whole number, not 'many'. It is 4",
        ),
        ("--model.layers 2.5", "takes a whole number, not '2.5'"),
        ("--model.layers", "--model.layers needs a value after it: a whole number"),
        ("--seed --batch 3", "--seed needs a value"),
        ("--schedule.peak True", "takes a number, not 'True'"),
        (
            "--model.norm batch",
            "takes layer, rms or none, not 'batch'. It is layer now",
        ),
        ("--model.tied maybe", "takes True or False, not 'maybe'. It is True"),
        ("--optimizer.clip none", "takes a number or None, not 'none'"),
        ("--budget 3 epochs", "quoted: --budget '3 epochs'"),
        ("--model.layers 3 4", "'4' stands after it"),
        ("--frozen a b", "frozen: 'b' is not a duration"),
        ("--fsdp two", "--fsdp takes a whole number, not 'two'"),
        ("--optimizer", "the name of a kind after it: SGD"),
        ("--optimizer Lion x", "'x' stands after it"),
        ("--optimizer Lyon", "Did you mean 'Lion'?"),
        ("--optimizer LION", "Did you mean 'Lion'?"),
        ("--optimizer=None", "'None' is none of them"),
        (
            "--optimizer.momentum 0.9",
            "--optimizer holds AdamW now; --optimizer SGD has",
        ),
        ("--model.positions.base 5", "--model.positions Rotary has it"),
        ("--average.decay 0.9", "--average is None now; --average MovingAverage has"),
        ("--data.corpus ptb", "Did you mean --data.corpus.source ptb?"),
        ("--evaluations sample", "by name: --evaluations."),
        ("--model Recurrent", "--model holds a Transformer"),
        (
            "--model.layers 2 --seed 1 --model.layers=4",
            "--model.layers 2 and --model.layers 4 change one field: give one",
        ),
        ("--seed 3 --seed 3", "--seed 3 and --seed 3 change one field"),
        (
            "--fsdp 2 --execution.sharding.fsdp 4",
            "--fsdp 2 and --execution.sharding.fsdp 4 change one field",
        ),
        ("--model.use_bias True --model.use-bias False", "change one field"),
        ("--optimizer Lion --optimizer SGD", "--optimizer Lion and --optimizer SGD"),
        ("5", "'5' is no option"),
        ("-x 3", "'-x' is no option"),
        ("\u2013seed 3", "Its dashes are those of print. All fields"),
        ("-\u2014seed 3", "Its dashes are those of print. All fields"),
        ("--rnu x", "Did you mean --run x?"),
        ("--xyzzy 3", "All fields: train FILE --help"),
        ("--model.positions.x.y 3", "no field --model.positions.x.y"),
        ("--data.corpus.source.x 3", "no field --data.corpus.source.x"),
        ("--execution.sharding.rules.9.0 x", "no field"),
    ],
)
def test_what_does_not_fit_is_one_sentence(typed, words):
    with pytest.raises(UserError) as refused:
        override(RECIPE, shlex.split(typed), "train FILE", ("run", "from"))
    said = str(refused.value)
    assert words in said
    for parser in ("invalid literal", "could not convert", "Unrecognized", "NoneType"):
        assert parser not in said


@dataclass(frozen=True)
class Picky(NextToken):
    """A kind of a user's own, with a check and fields of types of its own."""

    gamma: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    table: dict | None = None
    how: "Missing" = None  # noqa: F821

    def __post_init__(self):
        if self.gamma < 0:
            raise ValueError("gamma must be positive")


def test_a_users_own_kind_is_changed_and_refuses_in_its_own_words(recwarn):
    recipe = replace(RECIPE, objective=Picky())
    args = ["--objective.gamma", "2", "--objective.sizes", "3"]
    assert override(recipe, args, "train").objective == Picky(gamma=2.0, sizes=(3,))
    assert override(recipe, ["--objective", "NextToken"], "t").objective == NextToken()
    for typed, words in (
        (
            "--objective.gamma -1",
            "--objective.gamma: ValueError: gamma must be positive",
        ),
        ("--objective.table a", "--objective.table can't be typed"),
        ("--objective.how a", "--objective.how can't be typed"),
        ("--objective.gama 1", "--objective.gamma 1"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            override(recipe, typed.split(), "train")
    named = Named(recipe, "mine", "base", ("small", "large"))
    assert "--objective.gamma" in fields_help(named, "mine.py", "train")
    assert not recwarn.list


def test_help_says_what_can_be_typed_in_80_columns():
    named = replace(load("experiments/gpt_shakespeare.py"), experiment=RECIPE)
    said = fields_help(named, "experiments/gpt_shakespeare.py", "train")
    assert max(map(len, said.splitlines())) <= 80
    for word in (
        *("Lion", "Rotary", "Gated", "Subwords", "PackedDocuments"),
        *("--run DIRECTORY", "--from RUN", "--fsdp", "--accumulate", "--keep"),
        *("--scan", "variants: rotary, swiglu", "--model.kv-heads", "--average"),
    ):
        assert word in said
