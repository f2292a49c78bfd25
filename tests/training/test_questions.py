"""From questions and labelled words to scores: what runs of them must hold."""

import json
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.evaluation.answers import agreement
from lm_jax.evaluation.entities import entity_counts, entity_scores
from lm_jax.runs.result import read_result
from tests.data.test_answer_spans import long_articles

EXPERIMENT = '''"""Find keys in passages, and names among words.

Run:     ./launch.sh train keys.py
Expect:  nothing
Source:  none
"""

from dataclasses import replace

from lm_jax.data import AnswerSpans, TextPairs, TokenLabels
from lm_jax.evaluation import *
from lm_jax.experiment import Experiment
from lm_jax.models import BiRecurrent, EncoderDecoder, Tagger
from lm_jax.objectives import FindSpan, LabelTokens, Seq2Seq
from lm_jax.optimizers import AdamW
from lm_jax.schedules import WarmupCosine
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words

experiment = Experiment(
    data=AnswerSpans(Corpus("keys.json"), Words(), (32, 64), stride=8, question=16),
    model=Tagger(BiRecurrent(layers=1, width=8, segment_types=3)),
    objective=FindSpan(),
    optimizer=AdamW(),
    schedule=WarmupCosine(peak=3e-2, warmup="2 steps"),
    batch="512 tokens",
    budget="20 steps",
    evaluations={
        "spans": SpanScores(),
        "likelihood": Likelihood("10 steps"),
        "window": SlidingWindow(common=5),
    },
    watch="likelihood",
    outputs=(),
)
variants = {
    "words": replace(
        experiment,
        data=TokenLabels(Corpus("words.conll", validation=0.3), lengths=(4, 8)),
        model=Tagger(BiRecurrent(layers=1, width=8)),
        objective=LabelTokens(),
        budget="60 steps",
        evaluations={"entities": EntityScores("30 steps")},
        watch="entities",
    ),
    "written": replace(
        experiment,
        data=TextPairs(
            Corpus("keys.json", validation=0.3), Words(), lengths=(64,), target_length=4
        ),
        model=EncoderDecoder(layers=1, heads=2, width=8),
        objective=Seq2Seq(),
        evaluations={
            "likelihood": Likelihood("20 steps"),
            "answers": WrittenAnswers(length=4),
        },
    ),
}
'''


def write_words(path):
    """Names of one and two words among others; a sentence of ten words is long."""
    sentences = [
        [("see", "O"), ("Ada", "B-P"), (f"L{k % 3}", "I-P"), *[("now", "O")] * (k % 4)]
        for k in range(30)
    ]
    sentences.append([("Bob", "B-P"), *[("ran", "O")] * 9])
    lines = ["\n".join(f"{w} X {t}" for w, t in words) for words in sentences]
    path.write_text("-DOCSTART- X O\n\n" + "\n\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    long_articles(tmp_path / "keys.json")
    write_words(tmp_path / "words.conll")
    (tmp_path / "keys.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.slow
def test_each_question_has_one_line_and_the_scores_are_their_means(folder, capsys):
    assert main(["train", "keys.py", "--run", "asked"]) == 0
    scores = {
        e["evaluation"]: e["scores"] for e in read_result(Path("asked"))["scores"]
    }
    assert scores["spans"].keys() >= {"exact", "f1", "threshold", "answered_f1"}
    assert "threshold" not in scores["window"]
    for split, count in (("validation", 3), ("test", 9)):
        asked = ["evaluate", "asked", "--evaluation", "spans", "--split", split]
        assert main([*asked, "--predictions", "p.jsonl", "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
        rows = lines_of("p.jsonl")
        assert len({row["id"] for row in rows}) == len(rows) == count
        mean = sum(row["f1"] for row in rows) / count
        assert found["f1"] == pytest.approx(mean, abs=1e-6)
        if split == "test":  # Chosen on the questions of validation.
            assert found["threshold"] == pytest.approx(scores["spans"]["threshold"])
    assert main(["evaluate", "asked", "--predictions", "p.tsv"]) == 0


@pytest.mark.slow
def test_answers_are_written_and_scored_by_the_rules_of_spans(folder, capsys):
    assert main(["train", "keys.py:written", "--run", "wrote"]) == 0
    *_, entry = read_result(Path("wrote"))["scores"]
    assert entry["evaluation"] == "answers"
    capsys.readouterr()
    asked = ["evaluate", "wrote", "--evaluation", "answers", "--json"]
    assert main([*asked, "--predictions", "p.jsonl"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    rows = lines_of("p.jsonl")
    assert len({row["source"] for row in rows}) == len(rows) > 5
    for row in rows:
        how = agreement(
            row["prediction"], [*filter(None, row["answers"])], "squad", True
        )
        assert (row["exact"], row["f1"]) == pytest.approx(how)
    mean = sum(row["f1"] for row in rows) / len(rows)
    assert found["f1"] == pytest.approx(mean, abs=1e-6)
    assert found == pytest.approx(entry["scores"], abs=1e-6)


@pytest.mark.slow
def test_each_word_has_a_label_and_the_scores_are_of_entities(folder, capsys):
    assert main(["train", "keys.py:words", "--run", "told"]) == 0
    [entry] = read_result(Path("told"))["scores"][-1:]
    capsys.readouterr()
    assert main(["evaluate", "told", "--predictions", "p.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    counts = entity_counts([], [])
    for row in lines_of("p.jsonl"):
        assert len(row["labels"]) == len(row["predicted"]) > 0
        counts += entity_counts(row["labels"], row["predicted"])
    assert counts["given"] > 3
    assert found == pytest.approx(entity_scores(counts), abs=1e-6)
    assert found["f1"] > 0.5 and "f1" in entry["scores"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model.body.segment-types", "-1"], "segment_types=-1"),
        (["--data.fold", "7"], "data.fold=7: the folds are 0 to 4"),
        (["--data.corpus.source", "words.conll"], "is no JSON"),
        (["--data.folds", "30"], "12 articles are too few for 30 folds"),
    ],
)
def test_what_cannot_be_is_said_in_one_message(folder, capsys, options, said):
    assert main(["train", "keys.py", "--run", "bad", *options]) == 2
    assert said in capsys.readouterr().err
