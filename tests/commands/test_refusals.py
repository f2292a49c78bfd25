"""What a user may get wrong on the command line: one message, code 2, no compiling."""

import re
import shlex

import jax
import pytest

from lm_jax.__main__ import main
from lm_jax.command_line import split
from lm_jax.experiment import load
from lm_jax.experiment.overrides import override
from lm_jax.training.setup import CACHE
from tests.tiny import write_tiny

CHINESE = "春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少。\n" * 60


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with text.txt, tiny.py and a Chinese text, where nothing compiles."""
    write_tiny(tmp_path)
    (tmp_path / "chinese.txt").write_text(CHINESE + "龍")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LM_JAX_DATA", raising=False)

    def compiles(*args, **named):
        raise AssertionError("compiled")

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiles)
    return tmp_path


def said_by(capsys, *args):
    """Exit code, and all that was said with its white space made one."""
    capsys.readouterr()
    try:
        code = main(list(args))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    for line in said.err.splitlines():
        assert len(line) <= 80 or " " not in line.strip()
    return code, " ".join((said.out + said.err).split())


TRAIN = "train tiny.py"
REFUSED = [
    ("generate run --prompt a b --stream", "--stream prints one text as it is drawn"),
    ("generate run --beam.size 2 --stream True", "leave --prompts, --json, searches"),
    ("generate run --prompt a --choices", "--choices needs a value after it"),
    ("trian tiny.py", "Did you mean 'train'?"),
    ("train tinny.py", "There is no experiment file 'tinny.py'."),
    ("train gpt_shakespeare.py", "Did you mean 'experiments/gpt_shakespeare.py'?"),
    ("train --seed 1 tiny.py", "The file comes first, then its options."),
    ("train tiny.py:recurent", "Did you mean 'recurrent'?"),
    ("train text.txt", "text.txt is not a Python file."),
    (f"{TRAIN} --run", "--run needs a directory after it."),
    (f"{TRAIN} --run a --run=b", "--run is given twice: give it once."),
    (f"{TRAIN} --run --seed 1", "--run needs a directory after it."),
    (f"{TRAIN} --lr 1", "Did you mean --schedule.peak 1?"),
    (f"{TRAIN} --rnu x", "Did you mean --run x?"),
    (f"{TRAIN} --model.layers=many", "takes a whole number, not 'many'. It is 1 now."),
    (f"{TRAIN} --from=nope", "There is no nope."),
    (f"{TRAIN} --data.corpus.source ./data/x.txt", "no file or folder data/x.txt."),
    (
        f"{TRAIN} --data.corpus.source data/nope",
        "There is no file or folder data/nope.",
    ),
    (f"{TRAIN} --data.corpus.source=x.txt", "Did you mean 'text.txt'?"),
    (f"{TRAIN} --evaluations.sample.prompt 龍", "--evaluations.sample.prompt '龍' is"),
    (f"{TRAIN} --evaluations.sample.prompt=", "--evaluations.sample.prompt is empty"),
    (
        f"{TRAIN} --evaluations.sample.length -1",
        "evaluations.sample.length=-1: give a whole number",
    ),
    (
        f"{TRAIN} --data.corpus.source chinese.txt",
        "train with --data.tokenizer.unknown",
    ),
    (f"{TRAIN} --attention slpash", "blocks, splash or cudnn, not 'slpash'"),
    (f"{TRAIN} --attention splash", "for the platform tpu, and the devices are of cpu"),
    (f"{TRAIN} --attention cudnn", "for the platform gpu, and the devices are of cpu"),
    ("plan tiny.py --attention splash", "for the platform tpu, and the devices"),
    (f"{TRAIN} --attention blocks", "No kernel has dropout of attention's weights"),
    (
        "plan tiny.py --topology cpu:2 --sequence 2 --attention blocks "
        "--model.dropout 0 --model.positions ALiBi",
        "blocks add nothing to the scores of a text that lies on several devices",
    ),
    ("show tiny.py --model Recurrent", "replace(experiment, model=Recurrent(...))"),
    ("show tiny.py --model recurrent", "--model.head-dim, ..."),
    ("show tiny.py --lr 1", "./launch.sh show tiny.py --help"),
    ("show tiny.py --run x", "There is no field --run."),
    ("plan tinny.py", "There is no experiment file 'tinny.py'."),
    ("plan tiny.py --topology v5q:2x2", "Did you mean 'v5p'?"),
    ("diff tiny.py nope", "There is no nope."),
    ("evaluate", "./launch.sh evaluate RUN"),
    ("evaluate runs/nope", "There is no runs/nope."),
    (
        "evaluate nope --split tset",
        "--split takes train, validation or test, not 'tset'.",
    ),
    ("evaluate nope --step last", "--step takes a whole number or None, not 'last'."),
    ("evaluate nope --steps 3", "Did you mean '--step'?"),
    ("evaluate nope --corpus=", "--corpus is empty: give a value, or leave it out."),
    ("evaluate --run nope", "has no option --run"),
    ("generate nope --lenght 3", "Did you mean '--length'?"),
    ("generate nope --length", "--length needs a value after it: a whole number."),
    ("generate nope --temperature=hot", "--temperature takes a number, not 'hot'."),
    ("generate nope --top_k 1.5", "--top-k takes a whole number or None, not '1.5'."),
    (
        "evaluate nope --split test --split train",
        "--split was given twice. Give it once.",
    ),
    ("generate nope twice", "was given 'twice' beside what it takes"),
    ("runs -- --yes", "--yes is no folder"),
    ("evaluate --step 2 -- nope", "There is no nope."),
    ("inspect --step 3", "./launch.sh inspect RUN"),
    ("vectors nope", "There is no nope."),
    ("vectors nope --sections maybe", "was given 'maybe' beside"),
    ("bench trian", "Did you mean 'train'?"),
    ("bench train --rounds few", "--rounds takes a whole number, not 'few'."),
    ("doctor me", "doctor takes no arguments"),
]


@pytest.mark.parametrize(
    ("typed", "words"), REFUSED, ids=[typed for typed, _ in REFUSED]
)
def test_what_is_wrong_is_one_message_and_exit_code_2(typed, words, capsys, place):
    before = {path.name for path in place.iterdir()} | {".lm_jax"}
    code, said = said_by(capsys, *shlex.split(typed))
    assert code == 2, said
    assert words in said
    for parser in ("Unrecognized", "invalid literal", "could not convert", "parse"):
        assert parser not in said
    assert {path.name for path in place.iterdir()} <= before


def test_a_missing_folder_is_not_first_of_all_a_hugging_face_id(capsys):
    code, said = said_by(capsys, *f"{TRAIN} --data.corpus.source=nope/nope".split())
    assert code == 2
    assert said.startswith("There is no file, folder or corpus 'nope/nope' here.")


def advised(said):
    """The flags that a message advises, each with its value."""
    found = re.findall(r"(--[a-z][\w.-]*\w)((?: (?:None|\d+|'[^']*')(?=\W))?)", said)
    return [[flag, *shlex.split(value)] for flag, value in dict(found).items()]


def without(name, typed):
    """What was typed, but for a flag: it is given once."""
    _, flags = split(typed)
    kept = [[f"--{flag.name}", *flag.words] for flag in flags]
    return [word for words in kept if words[0] != name for word in words]


@pytest.mark.parametrize(
    "typed",
    [
        ["--data.corpus.source", "chinese.txt"],
        ["--evaluations.sample.prompt", "春"],
        ["--evaluations.sample.prompt", ""],
        ["--data=MaskedStream", "--data.rate=0.1", "--data.context=3"],
        ["--data.context=64", "--batch=8 tokens"],
    ],
    ids=["text", "prompt", "empty", "mask", "batch"],
)
def test_what_a_message_advises_works_when_typed(typed, capsys):
    code, said = said_by(capsys, "train", "tiny.py", *typed)
    assert code == 2
    advice = [each for each in advised(said) if each != typed[:1]]
    assert advice
    for flags in advice:
        args = [*without(flags[0], typed), *flags]
        experiment = override(load("tiny.py").experiment, args, "train")
        data = experiment.data.prepare(CACHE)
        data.order(experiment.seed, experiment.batch)
        experiment.evaluations["sample"].check(data.tokenizer, "sample")


def test_another_text_is_trained_without_naming_a_prompt(place):
    (place / "chinese.txt").write_text(CHINESE)
    base, other = load("tiny.py").experiment, ["--data.corpus.source", "chinese.txt"]
    experiment = override(base, other, "train")
    sample = experiment.evaluations["sample"]
    assert sample.prompt is None and sample.length == base.evaluations["sample"].length
    sample.check(experiment.data.prepare(CACHE).tokenizer, "sample")
    asked = override(base, [*other, "--evaluations.sample.prompt", "春"], "train")
    assert asked.evaluations["sample"].prompt == "春"
    same = override(base, ["--data.corpus.validation", "0.2"], "train")
    assert same.evaluations["sample"].prompt == "the "


OWN = """

import flax.linen as nn
import jax.numpy as jnp
from lm_jax.models import Model


class Mine(Model):
    width: int = 8

    def setup(self):
        self.embedding = nn.Embed(self.vocab_size, self.width)
        self.lm_head = {setup}

    def features(self, tokens, **_):
        x = self.embedding(tokens)
        return {features}, None

    def logits(self, hidden):
        return self.lm_head(hidden)


experiment = replace(experiment, model=Mine({made}))
variants = {variants}
"""
RIGHT = {
    "setup": "nn.Dense(self.vocab_size)",
    "features": "jnp.tanh(x)",
    "made": "",
    "variants": "{}",
}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"setup": "nn.Dens(3)"},
            "AttributeError: module 'flax.linen' has no attribute",
        ),
        ({"features": "jnpp.tanh(x)"}, "NameError: name 'jnpp' is not defined"),
        ({"features": "self.middle(x)"}, 'has no attribute "middle"'),
        ({"features": "x @ jnp.ones((3, 4))"}, "TypeError: dot_general requires"),
        ({"made": "widht=3"}, "unexpected keyword argument 'widht'"),
        ({"made": "1 / 0"}, "ZeroDivisionError"),
    ],
)
def test_an_error_in_a_users_own_file_is_a_message_with_its_line(
    wrong, words, capsys, place
):
    text = (place / "tiny.py").read_text() + OWN.format(**RIGHT | wrong)
    (place / "own.py").write_text(text)
    (value,) = wrong.values()
    line = next(i for i, row in enumerate(text.split("\n"), 1) if value in row)
    code, said = said_by(capsys, "train", "own.py", "--run", "new")
    assert code == 2 and f"own.py, line {line}: " in said and words in said
    assert "lm_jax/" not in said and "site-packages" not in said
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ("[experiment]", "'variants' is a list"),
        ("{'a': 3}", "the variant 'a' is a int"),
        ("{'base': replace(experiment, seed=1)}", "'base' would stand for the file's"),
        ("{'../a': experiment}", "the variant '../a' names the folder of its runs"),
        ("{'': experiment}", "the variant '' names the folder"),
        ("{1: experiment}", "the variant 1 names the folder"),
    ],
)
def test_variants_are_experiments_by_name(variants, words, capsys, place):
    text = (place / "tiny.py").read_text() + OWN.format(
        **RIGHT | {"variants": variants}
    )
    (place / "own.py").write_text(text)
    code, said = said_by(capsys, "show", "own.py")
    assert code == 2 and words in said


def test_a_fault_of_ours_is_a_traceback(monkeypatch):
    from lm_jax.commands import train

    monkeypatch.setattr(train, "check_sinks", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        main(["train", "tiny.py"])


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_what_takes_long_is_said_before_it_begins(command, capsys, place, monkeypatch):
    import lm_jax.commands.evaluate
    import lm_jax.commands.generate
    from lm_jax.errors import UserError

    module = {
        "generate": lm_jax.commands.generate,
        "evaluate": lm_jax.commands.evaluate,
    }
    experiment = load("tiny.py").experiment

    def begun(*args):
        assert capsys.readouterr().err == "reading run, and compiling\n"
        raise UserError("begun")

    (place / "run").mkdir()
    monkeypatch.setattr(module[command], "find_run", lambda path: path)
    monkeypatch.setattr("lm_jax.commands.generate.load_model", begun)
    monkeypatch.setattr("lm_jax.commands.evaluate.load_fitted", begun)
    monkeypatch.setattr("lm_jax.commands.evaluate.read", lambda run: experiment)
    code = main([command, "run"])
    assert code == 2 and capsys.readouterr().err == "begun\n"


@pytest.mark.parametrize("command", ["train", "show"])
def test_help_of_a_file_lists_its_variants_and_short_names(command, capsys):
    code, said = said_by(capsys, command, "tiny.py", "--help")
    assert code == 0
    for word in ("variants: recurrent", "--fsdp", "--accumulate", "--keep", "--scan"):
        assert word in said
    assert ("--run DIRECTORY" in said) is (command == "train")
    assert "--from RUN" in said


@pytest.mark.parametrize("args", [["--help"], ["--all", "-h"]])
def test_help_of_test_is_our_own(args, capsys):
    code, said = said_by(capsys, "test", *args)
    assert code == 0 and said.startswith("usage: ./launch.sh test [--all]")
    assert "fixtures" not in said
