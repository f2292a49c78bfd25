"""lm-evaluation-harness asks a run; its sums are those of our own evaluation."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.data.windows import stream_window, windows_of
from lm_jax.errors import UserError
from lm_jax.generation import Sampling
from lm_jax.models import GRU, Recurrent
from lm_jax.objectives import NextToken
from tests.inspection.made import CONTEXT, decoder, encoder
from tests.tiny import TEXT

pytest.importorskip("lm_eval")
harness = pytest.importorskip("lm_jax.exchange.harness")


def asked(*args):
    return SimpleNamespace(args=args)


def test_rolling_sums_are_those_of_an_evaluation():
    model = decoder()
    lm = harness.HarnessModel(model)
    text = TEXT[: 3 * CONTEXT]
    ids = np.append(model.tokenizer.encode(" "), model.tokenizer.encode(text))
    nats = 0.0
    assert windows_of(len(ids), CONTEXT) == 3
    for index in range(3):
        row = stream_window(ids, CONTEXT, index)
        batch = {k: jnp.asarray(v)[None] for k, v in row.items()}
        nats += float(NextToken()(model.model, model.params, batch, None).loss)
    found = lm.loglikelihood_rolling([asked(text), asked("")])
    assert found == [pytest.approx(-nats, rel=1e-5), 0.0]


def test_the_last_window_of_a_longer_text_is_the_harness_own():
    """It reaches back for a whole context, where ours begins anew."""
    model = decoder()
    lm = harness.HarnessModel(model)
    text = TEXT[: CONTEXT + 3]
    (rolling,) = lm.loglikelihood_rolling([asked(text)])
    ids = model.tokenizer.encode(text).tolist()
    parts = [([lm.eot_token_id], ids[:CONTEXT]), (ids[2:CONTEXT], ids[CONTEXT:])]
    by_hand = lm._loglikelihood_tokens([(None, *part) for part in parts])
    assert rolling == pytest.approx(sum(total for total, _ in by_hand), rel=1e-6)


def test_a_recurrent_model_reads_a_text_whole():
    model = decoder(Recurrent(GRU(), width=8))
    lm = harness.HarnessModel(model)
    text = TEXT[: 3 * CONTEXT + 5]
    ids = np.append(model.tokenizer.encode(" "), model.tokenizer.encode(text))
    logits, _ = model.model.apply({"params": model.params}, jnp.asarray(ids[:-1])[None])
    told = np.asarray(jax.nn.log_softmax(logits[0]))
    own = told[np.arange(len(ids) - 1), ids[1:]].sum()
    assert lm.loglikelihood_rolling([asked(text)])[0] == pytest.approx(own, rel=1e-4)


def test_a_continuation_has_its_own_tokens_probability():
    model = decoder()
    lm = harness.HarnessModel(model)
    context, continuation = "the cat", " sees"
    ((total, greedy),) = lm.loglikelihood([asked(context, continuation)])
    ids = model.tokenizer.encode(context + continuation)
    logits, _ = model.model.apply({"params": model.params}, jnp.asarray(ids)[None])
    told = np.asarray(jax.nn.log_softmax(logits[0]))
    places = np.arange(len(context) - 1, len(ids) - 1)
    assert total == pytest.approx(float(told[places, ids[places + 1]].sum()), rel=1e-4)
    assert not greedy
    likeliest = model.generate(context, 3, temperature=0.0)[0][len(context) :]
    (_, greedy), (shared, _) = lm.loglikelihood(
        [asked(context, likeliest), asked("", "the")]
    )
    assert greedy
    assert shared == pytest.approx(lm.loglikelihood_rolling([asked("the")])[0])


def test_a_context_begins_as_a_document_does():
    """By the chain rule; and what goes on is what `generate` writes."""
    model = decoder(end=True)
    lm = harness.HarnessModel(model)
    context, continuation = "the cat", " sees"
    first, rest, whole = (
        total
        for total, _ in lm.loglikelihood(
            [
                asked("", context),
                asked(context, continuation),
                asked("", context + continuation),
            ]
        )
    )
    assert first + rest == pytest.approx(whole, rel=1e-5)
    (found,) = lm.generate_until([asked(context, {"max_gen_toks": 8, "until": []})])
    written = model.write([context], 8, Sampling(temperature=0.0), to_end=True)
    assert found == written[0][0].text


def test_a_long_context_loses_its_beginning():
    lm = harness.HarnessModel(decoder())
    text = TEXT[: 2 * CONTEXT]
    (long,) = lm.loglikelihood([asked(text, " a dog")])
    tail = (text + " a dog")[-CONTEXT - 1 :]
    (short,) = lm.loglikelihood([asked(tail[:-6], " a dog")])
    assert long[0] == pytest.approx(short[0], rel=1e-5)


def test_no_token_of_a_continuation_longer_than_the_context_is_left_out():
    lm = harness.HarnessModel(decoder())
    text = TEXT[: 2 * CONTEXT]
    ((total, _),) = lm.loglikelihood([asked("the cat", text)])
    ids = lm.tok_encode("the cat" + text)
    halves = [ids[-2 * CONTEXT - 1 : -CONTEXT], ids[-CONTEXT - 1 :]]
    by_hand = lm._loglikelihood_tokens([(None, h[:1], h[1:]) for h in halves])
    assert total == pytest.approx(sum(part for part, _ in by_hand), rel=1e-6)


def test_texts_go_on_until_what_ends_them():
    model = decoder()
    lm = harness.HarnessModel(model)
    contexts = ["the cat", "a dog eats", "my"]
    how = {"max_gen_toks": 6, "until": ["\n\n"]}
    found = lm.generate_until([asked(context, how) for context in contexts])
    ids = [model.tokenizer.encode(context) for context in contexts]
    greedy = model.generate_ids(ids, 6, Sampling(temperature=0.0), 0)
    whole = [model.tokenizer.decode(row) for row in greedy]
    assert found == whole
    stop = whole[0][3]
    (cut,) = lm.generate_until([asked("the cat", how | {"until": stop})])
    assert cut == whole[0].split(stop)[0] and len(cut) < 6
    with pytest.raises(UserError, match="drawn by num_beams"):
        lm.generate_until([asked("a", {"num_beams": 4})])


def test_a_model_of_masked_tokens_is_refused():
    with pytest.raises(UserError, match="reads from both sides"):
        harness.HarnessModel(encoder())


TASK = """
task: tiny_{kind}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
test_split: test
output_type: {kind}
"""
CHOICE = """
doc_to_text: "{{{{context}}}}"
doc_to_choice: ["sees", "eats"]
doc_to_target: answer
target_delimiter: " "
metric_list:
  - metric: acc
"""
ROLLING = """
doc_to_text: ""
doc_to_target: "{{{{context}}}}"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
"""


@pytest.mark.slow
def test_a_task_of_local_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    rows = [
        {"context": "the cat", "answer": 0},
        {"context": "a dog", "answer": 1},
        {"context": "my bird", "answer": 1},
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = []
    for kind, more in (("multiple_choice", CHOICE), ("loglikelihood_rolling", ROLLING)):
        file = tmp_path / f"{kind}.yaml"
        file.write_text((TASK + more).format(kind=kind, path=data))
        files.append(str(file))
    model = decoder()
    found = harness.harness_results(model, files)
    lm = harness.HarnessModel(model)
    right = 0
    for row in rows:
        told = lm.loglikelihood(
            [asked(row["context"], " sees"), asked(row["context"], " eats")]
        )
        right += int(np.argmax([total for total, _ in told])) == row["answer"]
    results = found["results"]
    assert results["tiny_multiple_choice"]["acc,none"] == pytest.approx(right / 3)
    texts = [row["context"] for row in rows]
    nats = -sum(lm.loglikelihood_rolling([asked(text) for text in texts]))
    size = sum(map(len, texts))
    bits = results["tiny_loglikelihood_rolling"]["bits_per_byte,none"]
    assert bits == pytest.approx(nats / size / np.log(2), rel=1e-5)
    table = dict(harness.table_of(found))
    assert "3 examples, 0-shot" in table["tiny_multiple_choice acc"]
    with pytest.raises(UserError, match="no task of that name.*mean 'hellaswag'"):
        harness.harness_results(replace(model), ["hellaswagg"])
