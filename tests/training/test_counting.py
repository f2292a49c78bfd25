"""A counted run is refused early, ends once, and keeps what was scored."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.counting import NGram, load
from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.evaluation import Likelihood, Sample
from lm_jax.experiment import CountExperiment
from lm_jax.experiment import load as load_file
from lm_jax.generation import Sampling
from lm_jax.runs.code import own_code
from lm_jax.runs.display import Display
from lm_jax.runs.model import load_model
from lm_jax.runs.result import find_scores, read_result
from lm_jax.text import Corpus
from lm_jax.tokenizers import Characters, Words
from lm_jax.tokenizers.trained import boundary_ids
from lm_jax.training.counting import count_run
from lm_jax.training.fitting import evaluate, train
from tests.tiny import TEXT

EXPERIMENT = CountExperiment(
    TokenStream(Corpus("text.txt", test=0.1), Characters(), 16),
    NGram(3),
    evaluations={"likelihood": Likelihood(), "sample": Sample("the ", 5)},
)


def sampling(sample):
    return {"evaluations": {"likelihood": Likelihood(), "sample": sample}}


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("\n".join([TEXT] * 3))
    monkeypatch.chdir(tmp_path)


def test_a_run_that_has_ended_keeps_its_scores(capsys):
    count_run(EXPERIMENT, Path("run"), Display(0))
    assert main(["evaluate", "run", "--split", "test"]) == 0
    files = [path for path in Path("run").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    result = read_result(Path("run"))
    splits = [entry["split"] for entry in result["scores"]]
    assert splits == ["validation", "test"]
    again = count_run(EXPERIMENT, Path("run"), Display(0))
    assert "The run has ended" in capsys.readouterr().out
    assert again.score("validation") == find_scores(result, "validation", "end")
    del before[Path("run/.lock")]  # It names the last process.
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_run_stopped_before_its_result_is_counted_again():
    whole = count_run(EXPERIMENT, Path("run"), Display(0))
    Path("run/result.json").unlink()
    count_run(EXPERIMENT, Path("run"), Display(0))
    found = find_scores(read_result(Path("run")), "validation", "end")
    assert found == whole.score("validation")
    Path("run/ngram/about.json").write_bytes(b"damaged")
    with pytest.raises(UserError, match="Move it away"):
        count_run(EXPERIMENT, Path("run"), Display(0))
    shutil.rmtree("run/ngram")
    again = count_run(EXPERIMENT, Path("run"), Display(0))
    assert again.loaded.fitted.parameters == whole.loaded.fitted.parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (sampling(Sample("THE 9")), "lacks '9', 'E', 'H', 'T'"),
        (sampling(Sample(length=-1)), "sample.length=-1: give a whole number"),
        (
            {"data": TokenStream(Corpus("text.txt", validation=0.0), Characters(), 16)},
            "The split 'validation' has 0 tokens",
        ),
    ],
)
def test_what_fails_later_is_refused_before_anything_is_written(changes, message):
    with pytest.raises(UserError, match=message):
        count_run(replace(EXPERIMENT, **changes), Path("run"), Display(0))
    assert not Path("run").exists()


def test_a_step_that_is_not_there_is_refused(capsys):
    count_run(EXPERIMENT, Path("run"), Display(0))
    for command in ("evaluate", "generate"):
        assert main([command, "run", "--step", "7"]) == 2
        assert "leave --step out" in " ".join(capsys.readouterr().err.split())


def test_contexts_of_words_begin_anew_at_lines_and_at_documents():
    rows = [{"text": f"a b\nc {word}"} for word in "defghijklm" * 3]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = TokenStream(Corpus("rows.jsonl"), Words(), 16).prepare(Path("cache"))
    ends = boundary_ids(data.tokenizer)
    assert data.tokenizer.symbols(ends) == ["<eos>", "<|end|>"]
    fitted = NGram(3).fit(data.splits["train"].ids, data.vocab_size, ends)
    d, e = data.tokenizer.encode("d e")
    for end in ends:
        p = fitted.next_probabilities(np.array([[d, end], [e, end]]))
        np.testing.assert_array_equal(p[0], p[1])
    fitted.save(Path("model"))
    assert load(Path("model")).end_id == ends


def counted_words(size, run):
    data = TokenStream(Corpus("text.txt"), Words(size=size), 16)
    return count_run(
        replace(EXPERIMENT, data=data, evaluations={"likelihood": Likelihood()}),
        Path(run),
        Display(0),
    )


def test_forgetting_words_does_not_pay():
    """The fewer words a model knows, the more bits it needs for the same text."""
    scores = [counted_words(n, f"{n}").score("validation") for n in (2, 9, 14, None)]
    bits = [found["bits_per_byte"] for found in scores]
    spelling = [found.get("spelling_bits_per_byte", 0.0) for found in scores]
    assert bits == sorted(bits, reverse=True)
    assert spelling == sorted(spelling, reverse=True)
    assert spelling[-1] == 0.0 and spelling[0] > 1.0


def test_evaluate_prints_the_bytes_that_it_divides_by(capsys):
    text = Path("text.txt").read_text() + "  \t the  end "
    Path("text.txt").write_text(text)
    scored = counted_words(5, "run")
    tokens = scored.data.splits["validation"]
    words = text[int(0.9 * len(text)) :].split()
    known = scored.data.tokenizer.words
    size = len(" ".join(words))  # It has no line end.
    spelled = sum(8 * len(word) + 8 for word in words if word not in known)
    nats = -scored.loaded.fitted.log_probabilities(tokens.ids).sum()
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    printed = capsys.readouterr().out
    assert f"of {size} bytes ({tokens.coded.read} as it was read)" in printed
    assert "white space" in printed
    said = {
        line.rsplit(maxsplit=1)[0].strip(): float(line.split()[-1])
        for line in printed.splitlines()
        if "bits per byte" in line
    }
    # The first token follows nothing.
    first = np.log2(scored.data.vocab_size)
    assert f"1 token with none before: {first:.2f} bits, as one of 5" in printed
    bits = (nats / np.log(2) + spelled + first) / size
    assert said["bits per byte"] == pytest.approx(bits, abs=1e-6)
    assert said["spelling bits per byte"] == pytest.approx(spelled / size, abs=1e-6)
    kept = find_scores(read_result(Path("run")), "validation", "end")
    assert kept["bits_per_byte"] == pytest.approx(bits)
    assert kept["spelling_bits_per_byte"] == pytest.approx(spelled / size)


def begun_with_other_code(run):
    """Let a run have begun with other code than there is."""
    path = run / "environment.json"
    starts = json.loads(path.read_text())
    starts[0]["code"]["sources"] = "0" * 12
    path.write_text(json.dumps(starts))


def test_other_code_than_a_run_began_with_is_said_once_and_kept(capsys):
    run = Path("run")
    count_run(EXPERIMENT, run, Display(0))
    (made,) = read_result(run)["scores"]
    assert made["code"] == own_code() == read_result(run)["trained_with"][0]
    capsys.readouterr()
    assert main(["evaluate", "run", "--split", "test"]) == 0
    assert "code of lm_jax" not in capsys.readouterr().out
    begun_with_other_code(run)
    assert main(["evaluate", "run", "--split", "test"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("is not what this run began with") == 1
    assert f"sources {own_code()['sources']} now" in said
    with pytest.warns(UserWarning, match="not what this run began with"):
        evaluate(run)
    (run / "result.json").unlink()
    count_run(EXPERIMENT, run, Display(0))
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("is not what this run began with") == 1
    sources = [code["sources"] for code in read_result(run)["trained_with"]]
    assert sources == ["0" * 12, own_code()["sources"]]
    assert main(["table", "run"]) == 0
    assert "versions of the code" in capsys.readouterr().out


COUNTS = """
from lm_jax.counting import NGram
from lm_jax.data import TokenStream
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
experiment = CountExperiment(
    TokenStream(Corpus("text.txt", separator="."), context=16), NGram(3)
)
"""


def test_python_has_what_the_commands_have():
    """A file is trained where the command does; fields and windows by their names."""
    Path("counts.py").write_text(COUNTS)
    run = Path("runs/counts/base/seed0")
    found = train("counts.py")
    assert found == read_result(run)
    assert train(load_file("counts.py"), "other")["recipe"] == found["recipe"]
    with pytest.raises(UserError, match="give a directory"):
        train(load_file("counts.py").experiment)
    model = load_model(run)
    greedy = model.generate("a", 9, Sampling(temperature=0.0))
    assert model.generate("a", 9, temperature=0.0) == greedy
    with pytest.raises(UserError, match="no temprature=. Did you mean 'temperature'"):
        model.generate("a", temprature=0.0)
    Path("more.txt").write_text("a dog sees the cat")
    assert evaluate(run, corpus="more.txt", stride=3).scores["tokens"] == 18


def test_a_prompt_begins_a_document():
    """After the end of a document "b" begins one and "d" follows, elsewhere "c"."""
    ends = ["".join(end) for end in itertools.product("ax", repeat=4)]
    texts = [first + end for first in ("bd", "xbc", "cbc") for end in ends]
    Path("text.txt").write_text(".".join(texts))
    Path("counts.py").write_text(COUNTS)
    train("counts.py", "run")
    assert load_model("run").generate("b", 1, temperature=0.0) == ["bd"]
