"""A bi-encoder's run is served: the vectors of `index` and `search`, and no text."""

import http.client
import json
import time
from dataclasses import replace

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.commands.serve import _about
from lm_jax.errors import NotFinite
from lm_jax.retrieval import embed
from lm_jax.serving.asked import Limits
from lm_jax.serving.embedding import Embedder
from lm_jax.serving.opening import open_model
from tests.serving.test_server import CHAT, MESSAGES, asked

PATH = "/v1/embeddings"
TEXTS = ["red green", "blue", "n3 red red red blue green"]


@pytest.fixture(scope="module")
def paired(pairs_run):
    return open_model(pairs_run)


@pytest.fixture(scope="module")
def embedder(paired):
    return Embedder(paired.fitted)


@pytest.fixture
def vectors(served, paired, embedder):
    with served(of=paired, embedder=embedder) as (server, engine):
        assert engine is None
        yield server


def numbers(told):
    return np.array([each["embedding"] for each in told["data"]])


def test_the_official_client_has_the_vectors_of_the_index(vectors, paired):
    openai = pytest.importorskip("openai", reason="the official client isn't here")
    with openai.OpenAI(base_url=f"{vectors.address}/v1", api_key="-") as client:
        client.max_retries = 0
        asked = {"model": paired.name, "input": TEXTS}
        packed = client.embeddings.create(**asked)  # base64
        listed = client.embeddings.create(**asked, encoding_format="float")
        sized = client.embeddings.create(**asked, dimensions=6)
        queries = client.embeddings.create(**asked, extra_body={"input_type": "query"})
        with pytest.raises(openai.BadRequestError, match="vectors have 6. Leave it"):
            client.embeddings.create(**asked, dimensions=3)
        with pytest.raises(openai.BadRequestError, match="gives vectors, and writes"):
            client.completions.create(model=paired.name, prompt="a")
        assert client.models.retrieve(paired.name).max_model_len == 16
    passages = embed(paired.fitted, TEXTS)
    for told in (packed, listed, sized):
        found = np.array([each.embedding for each in told.data])
        np.testing.assert_allclose(found, passages, atol=1e-6)
    found = np.array([each.embedding for each in queries.data])
    np.testing.assert_allclose(found, embed(paired.fitted, TEXTS, "query"), atol=1e-6)
    assert np.abs(found - passages).max() > 0.1
    read = sum(len(text.split()) + 1 for text in TEXTS)  # the end of each, too
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == read


def test_together_is_alone_and_ids_are_texts(vectors, paired):
    alone = [numbers(asked(vectors, PATH, {"input": t})[1])[0] for t in TEXTS]
    ids = [paired.tokenizer.encode(text).tolist() for text in TEXTS]
    for given in (TEXTS, ids, [ids[0], *TEXTS[1:]]):
        status, told = asked(vectors, PATH, {"input": given})
        assert status == 200
        np.testing.assert_array_equal(numbers(told), alone)
    np.testing.assert_array_equal(
        numbers(asked(vectors, PATH, {"input": ids[2]})[1]), alone[2:]
    )


@pytest.mark.parametrize("side", ["passage", "query"])
def test_texts_of_a_request_are_read_together(
    vectors, paired, embedder, side, monkeypatch
):
    """Each vector stands where its text does; no more is compiled for it."""
    compiled, sizes, vectors_of = [], [], Embedder.vectors

    def counted(self, texts, side="passage"):
        sizes.append(len(texts))
        return vectors_of(self, texts, side)

    monkeypatch.setattr(Embedder, "vectors", counted)
    texts = ["red green", "n3 " * 9, "n3 red red red blue green"] * 13
    alone = embed(paired.fitted, texts, side)
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "compile" in name else None
    )
    _, told = asked(vectors, PATH, {"input": texts, "input_type": side})
    jax.monitoring.clear_event_listeners()
    assert sorted(sizes) == [1] * 7 + [16] * 2 and not compiled
    np.testing.assert_allclose(numbers(told), alone, atol=1e-6)
    assert embedder.compiled == 4  # of two towers, one text and sixteen


@pytest.mark.parametrize(
    ("path", "body", "field", "message"),
    [
        (PATH, {"input": ""}, None, "0 tokens"),
        (PATH, {"input": ["red", "red " * 16]}, None, "17 tokens; vectors are of 1"),
        (PATH, {"input": "red", "input_type": "x"}, "input_type", "passage or query"),
        (PATH, {"input": [4, 10**6]}, None, "token 1000000"),
        (CHAT, MESSAGES, None, "gives vectors, and writes no text"),
    ],
)
def test_what_has_no_vector_is_refused(vectors, path, body, field, message):
    status, told = asked(vectors, path, body)
    assert status == 400 and told["error"]["param"] == field
    assert message in told["error"]["message"]


def test_what_is_no_vector_is_told_in_its_place(vectors):
    assert "POST to /v1/embeddings" in asked(vectors, "/")[1]
    assert asked(vectors, "/page.js")[0] == 404
    assert asked(vectors, "/health") == (200, {"status": "ok"})
    asked(vectors, PATH, {"input": ["red green", "blue"]})
    _, text = asked(vectors, "/metrics")
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    assert int(numbers["lm_jax_embedded_texts_total"]) >= 2
    assert int(numbers["lm_jax_embedded_tokens_total"]) >= 5
    assert "lm_jax_slots" not in numbers


def test_time_runs_out_and_who_leaves_is_left(served, paired, embedder, monkeypatch):
    made = []

    def slow(self, texts, side="passage"):
        made.append(texts)
        time.sleep(0.05)
        return np.zeros((len(texts), 6), np.float32)

    monkeypatch.setattr(Embedder, "vectors", slow)
    many = {"input": ["red"] * 300}
    with served(Limits(seconds=0.12), of=paired, embedder=embedder) as (server, _):
        status, told = asked(server, PATH, many)
        assert status == 408 and told["error"]["code"] == "timeout"
        assert "of 300 texts" in told["error"]["message"] and len(made) < 10
    with served(of=paired, embedder=embedder) as (server, _):
        made.clear()
        line = http.client.HTTPConnection(server.host, server.port, timeout=9)
        body, kind = json.dumps(many), "application/json"
        line.request("POST", PATH, body, {"Content-Type": kind})
        time.sleep(0.2)
        line.close()
        time.sleep(0.3)
        assert len(made) < 15


def test_a_vector_that_is_not_finite_is_none(paired):
    broken = jax.tree.map(lambda p: p * np.nan, paired.fitted.params)
    with pytest.raises(NotFinite, match="not finite"):
        embedder = Embedder(replace(paired.fitted, params=broken), context=4)
        embedder.vectors([embedder.read("red")])


def test_what_means_nothing_to_it_is_refused(
    pairs_run, paired, embedder, capsys, monkeypatch
):
    pytest.importorskip("uvicorn", reason="needs the extra `serve`")
    told = " ".join(_about(paired, embedder).split())
    assert "vectors of 6 numbers, and writes no text: POST to /v1/embeddings" in told
    assert "16 of a passage and 16 of a query" in told and "Template" not in told
    monkeypatch.setattr("lm_jax.commands.serve.Embedder", None)  # nothing is compiled
    for given, said in (
        (["--slots", "8"], "no answers: leave --slots out"),
        (["--queue", "3", "--length", "9"], "leave --queue and --length out"),
        (["--context", "17"], "--context 17: the run's is 16"),
    ):
        assert main(["serve", str(pairs_run), "--port", "0", *given]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_it_is_no_one_to_chat_with(pairs_run, capsys):
    assert main(["chat", str(pairs_run)]) == 2
    assert "doesn't continue text" in capsys.readouterr().err
