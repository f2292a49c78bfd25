"""Answers that are to be JSON are, beside others that stay what they were."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from lm_jax.data.template import plain_template
from lm_jax.generation import Sampling
from lm_jax.models import Rotary, Transformer
from lm_jax.runs.model import NeuralModel
from lm_jax.serving.asked import Limits, asked_chat, asked_text
from lm_jax.serving.engine import Engine
from lm_jax.serving.jobs import Job
from lm_jax.serving.opening import Writer
from lm_jax.serving.programs import Programs
from lm_jax.serving.refusals import Refused
from lm_jax.tokenizers import Bytes
from tests.first import first_params

pytest.importorskip("llguidance", reason="needs the extra `constraints`")

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "maximum": 99, "minimum": 0}},
    "required": ["a"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def opened():
    tokenizer = Bytes().train([], end=True)
    model = Transformer(1, 2, 16, vocab_size=260, positions=Rotary())
    params = first_params(model, 0, jnp.zeros((1, 4), jnp.int32))
    fitted = NeuralModel(None, tokenizer, model, params, 128, 0)
    return Writer("tiny", fitted, plain_template(tokenizer), False)


@pytest.fixture(scope="module")
def programs(opened):
    return Programs(opened.fitted, 4)


def answers(engine, jobs):
    """The texts of jobs that are answered at once, and why each ended."""
    told = [[] for _ in jobs]
    streams = [engine.answer(job) for job in jobs]
    for pieces, stream in zip(told, streams, strict=True):
        pieces.extend(stream)
    return [("".join(p.text for p in ps), ps[-1].reason) for ps in told]


def asked(opened, form, **more):
    body = {"prompt": "text", "max_tokens": 60, "seed": 3} | more
    return asked_text(body | {"response_format": form}, opened, Limits()).jobs


def test_json_is_written_beside_text_and_nothing_compiles(opened, programs):
    plain = Job(np.array([*b"text"], np.int32), 30, Sampling(), 1)
    form = {"type": "json_object"}
    with Engine(programs, opened.tokenizer) as engine:
        (alone,) = answers(engine, [plain])
        before = programs.compiled
        texts = answers(engine, [*asked(opened, FORMAT, n=2), plain])
        loose = answers(engine, asked(opened, form, max_tokens=100, temperature=0.0))
        again = answers(engine, [plain])
    for text, reason in texts[:2]:
        assert 0 <= json.loads(text)["a"] <= 99 and reason == "stop"
    assert texts[2] == alone == again[0] and programs.compiled == before
    ((text, reason),) = loose
    assert text.startswith("{") and (reason == "length") == (not _is_json(text))


def _is_json(text):
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def test_what_is_cut_off_ends_by_its_length_and_leaves_its_slot_free(opened, programs):
    plain = Job(np.array([*b"text"], np.int32), 30, Sampling(), 1)
    with Engine(programs, opened.tokenizer) as engine:
        (before,) = answers(engine, [plain])
        ((text, reason),) = answers(engine, asked(opened, FORMAT, max_tokens=3))
        (after,) = answers(engine, [plain])
    assert len(text) == 3 and reason == "length"
    assert after == before


def test_chats_have_a_format_too_without_the_templates_stops(opened, programs):
    messages = [{"role": "user", "content": "hi"}]
    body = {"messages": messages, "response_format": FORMAT, "max_tokens": 60}
    (job,) = asked_chat(body, opened, Limits()).jobs
    assert job.stops == () and job.grammar is not None
    with Engine(programs, opened.tokenizer) as engine:
        ((text, reason),) = answers(engine, [job])
    assert json.loads(text) and reason == "stop"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"type": "xml"}, "give text, json_object or json_schema"),
        ({"type": "json_schema"}, "schema is missing"),
        ({"type": "json_schema", "json_schema": {"schema": [1]}}, "is an object"),
        (
            {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}},
            "Invalid type: x",
        ),
    ],
)
def test_a_format_that_is_none_is_refused(opened, form, said):
    with pytest.raises(Refused, match=said) as raised:
        asked(opened, form)
    assert raised.value.status == 400 and raised.value.field == "response_format"
    with pytest.raises(Refused, match="leave stop out"):
        asked(opened, FORMAT, stop="x")
    assert asked(opened, {"type": "text"})[0].grammar is None
