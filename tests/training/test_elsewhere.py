"""What a model is scored on in place of its own text is all of the other text."""

import json
from importlib.util import find_spec

import pytest

from lm_jax.counting import NGram
from lm_jax.data import (
    AnswerSpans,
    Conversations,
    Labelled,
    Rated,
    RatedPairs,
    TextPairs,
    TokenStream,
)
from lm_jax.errors import UserError
from lm_jax.experiment import CountExperiment
from lm_jax.text import Corpus
from lm_jax.tokenizers import Kept, Words, save_tokenizer
from lm_jax.training.fitting import Elsewhere, _text_of, evaluate, train

ROWS = 12


@pytest.fixture
def run(tmp_path):
    """A directory with a tokenizer, and another text of each kind beside it."""
    save_tokenizer(Words().train(["a b\n0 1 2"], end=True), tmp_path / "tokenizer.json")
    said = [{"role": r, "content": "a b"} for r in ("user", "assistant")]
    rows = [
        {
            "body": f"a {k}",
            "label": "xy"[k % 2],
            "score": k,
            "target": "b",
            "talk": said,
        }
        for k in range(ROWS)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "other.jsonl").write_text(lines)
    back = '{"prompt": "a", "text": "b"}\n' * 3
    (tmp_path / "back.jsonl").write_text(back)
    data = [
        {
            "title": str(k),
            "paragraphs": [
                {
                    "context": "a b",
                    "qas": [
                        {
                            "id": str(k),
                            "question": "a",
                            "answers": [{"text": "b", "answer_start": 2}],
                        }
                    ],
                }
            ],
        }
        for k in range(ROWS)
    ]
    (tmp_path / "asked.json").write_text(json.dumps({"data": data}))
    return tmp_path


NEEDS_JINJA = pytest.mark.skipif(
    find_spec("jinja2") is None, reason="needs the extra `serve`"
)


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda c, _: Labelled(c, limit=5), "other.jsonl"),
        (lambda c, _: Labelled(c, limit=500), "other.jsonl"),
        (lambda c, _: Rated(c, limit=5), "other.jsonl"),
        (
            lambda c, _: RatedPairs(c, pair="target", scale=(0.0, 20.0), limit=5),
            "other.jsonl",
        ),
        (lambda c, _: TextPairs(c, target="target", limit=5), "other.jsonl"),
        (
            lambda c, run: TextPairs(
                c, target="target", synthetic=str(run / "back.jsonl")
            ),
            "other.jsonl",
        ),
        (lambda c, _: AnswerSpans(c, fold=1), "asked.json"),
        pytest.param(
            lambda c, _: Conversations(Corpus(c.source, "talk"), context=9),
            "other.jsonl",
            marks=NEEDS_JINJA,
        ),
    ],
)
def test_another_corpus_is_read_whole_by_the_same_column(run, make, other):
    data = make(Corpus("own", column="body", test=0.2), run)
    labels = ("x", "y") if isinstance(data, Labelled) else ()
    there = _text_of(data, run, Elsewhere(str(run / other)), labels)
    made = there.prepare(run / "cache")
    assert list(made.splits) == ["train"]
    assert made.windows("train", 4).count == ROWS


def test_a_run_is_scored_without_the_run_that_its_tokenizer_came_from(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a b c\nb a\n" * 40)
    stream = TokenStream(Corpus("text.txt"), Words())
    train(CountExperiment(stream, NGram(2)), "base")
    kept = TokenStream(Corpus("text.txt"), Kept("base"))
    train(CountExperiment(kept, NGram(2)), "run")
    before = evaluate("run").scores
    (tmp_path / "base").rename("gone")
    (tmp_path / "run").rename("moved")
    assert evaluate("moved").scores == before
    (tmp_path / "text.txt").write_text("a b c\nb b\n" * 40)
    with pytest.raises(UserError, match="moved began with another text"):
        evaluate("moved")
