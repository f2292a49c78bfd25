"""The official client is answered, one or eight at once, as `generate` answers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lm_jax.data.template import Turn
from lm_jax.serving.asked import Limits

openai = pytest.importorskip("openai", reason="the official client isn't here")
PROMPTS = ["the cat", "a", "my bird sees the", "one fish hears", "the ", "d", "s", "ee"]


@pytest.fixture(scope="module")
def client(served):
    with (
        served() as (server, _),
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="-") as client,
    ):
        client.max_retries = 0
        yield client


@pytest.fixture(scope="module")
def name(opened):
    return opened.name


def continued(opened, prompt, length, **sampling):
    (text,) = opened.fitted.generate(prompt, length, **sampling)
    return text[len(prompt) :]


def test_greedy_answers_are_the_offline_ones_for_one_client_and_for_eight(
    client, opened, name
):
    def ask(prompt):
        told = client.completions.create(
            model=name, prompt=prompt, max_tokens=20, temperature=0
        )
        assert told.usage.prompt_tokens == len(prompt)
        assert told.usage.completion_tokens == 20
        return told.choices[0].text, told.choices[0].finish_reason

    wanted = [(continued(opened, p, 20, temperature=0.0), "length") for p in PROMPTS]
    assert [ask(prompt) for prompt in PROMPTS] == wanted
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            assert list(pool.map(ask, PROMPTS)) == wanted
    assert len(set(wanted)) > 3


def test_drawn_answers_are_the_offline_ones_of_the_seed(client, opened, name):
    told = client.completions.create(
        model=name, prompt="the", max_tokens=9, temperature=0.7, top_p=0.9, seed=5, n=3
    )
    settings = {"temperature": 0.7, "top_p": 0.9, "seed": 5}
    wanted = opened.fitted.generate(["the"] * 3, 9, **settings)
    assert ["the" + choice.text for choice in told.choices] == wanted
    assert len(set(wanted)) == 3 and told.usage.prompt_tokens == 3
    other = client.completions.create(model=name, prompt="the", max_tokens=30)
    assert (
        other.choices[0].text
        != client.completions.create(model=name, prompt="the", max_tokens=30)
        .choices[0]
        .text
    )  # without a seed


def test_streamed_pieces_join_to_the_whole(client, opened, name):
    asked = {"model": name, "prompt": "the cat", "max_tokens": 25, "temperature": 0}
    whole = client.completions.create(**asked)
    stream = list(
        client.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].text for chunk in stream[:-1]]
    assert "".join(pieces) == whole.choices[0].text and len(pieces) > 5
    assert stream[-2].choices[0].finish_reason == "length"
    assert stream[-1].usage == whole.usage and not stream[-1].choices
    stop = whole.choices[0].text[8:11]
    stopped = list(client.completions.create(**asked, stream=True, stop=[stop, "#"]))
    text = "".join(chunk.choices[0].text for chunk in stopped)
    assert text == whole.choices[0].text.partition(stop)[0]
    assert stopped[-1].choices[0].finish_reason == "stop"


def test_logprobs_and_echo(client, opened, name):
    told = client.completions.create(
        model=name, prompt="the", max_tokens=6, temperature=0, logprobs=3
    )
    (choice,) = told.choices
    scores = choice.logprobs
    assert "".join(scores.tokens) == choice.text and len(scores.tokens) == 6
    assert scores.text_offset == list(range(6))
    for token, logprob, top in zip(
        scores.tokens, scores.token_logprobs, scores.top_logprobs, strict=True
    ):
        assert len(top) == 3 and top[token] == logprob == max(top.values()) <= 0
    echoed = client.completions.create(
        model=name, prompt="the", max_tokens=6, temperature=0, echo=True
    )
    assert echoed.choices[0].text == "the" + choice.text
    chat = client.chat.completions.create(
        model=name,
        messages=[{"role": "user", "content": "the cat"}],
        max_tokens=5,
        logprobs=True,
        top_logprobs=2,
        temperature=0,
    )
    for token in chat.choices[0].logprobs.content:
        assert token.logprob == max(each.logprob for each in token.top_logprobs)
        assert bytes(token.bytes).decode() == token.token


def test_a_chat_is_written_by_the_template(client, opened, name):
    messages = [
        {"role": "system", "content": "a dog"},
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "eats"},
        {"role": "user", "content": [{"type": "text", "text": "my bird"}]},
    ]
    asked = {"model": name, "messages": messages, "temperature": 0}
    told = client.chat.completions.create(**asked, max_completion_tokens=10)
    turns = [Turn(*pair) for pair in (("system", "a dog"), ("user", "the cat"))]
    turns += [Turn("assistant", "eats"), Turn("user", "my bird")]
    ids = opened.template.ids(turns, opened.tokenizer)
    text = opened.tokenizer.decode(ids)
    assert text == "a dog the cat eats my bird "
    (message,) = [choice.message for choice in told.choices]
    assert message.role == "assistant"
    assert message.content == continued(opened, text, 10, temperature=0.0)
    assert told.usage.prompt_tokens == len(ids)
    stream = client.chat.completions.create(**asked, max_tokens=10, stream=True)
    deltas = [chunk.choices[0].delta for chunk in stream]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == message.content


def test_vectors_are_means_of_features(client, opened, name):
    texts = ["the cat", "a dog sees my bird", "s"]
    told = client.embeddings.create(model=name, input=texts)  # base64
    plain = client.embeddings.create(model=name, input=texts, encoding_format="float")
    for text, packed, listed in zip(texts, told.data, plain.data, strict=True):
        (features,) = opened.fitted.features([text])
        np.testing.assert_allclose(packed.embedding, features.mean(0), atol=1e-5)
        np.testing.assert_allclose(listed.embedding, features.mean(0), atol=1e-5)
    assert told.usage.prompt_tokens == sum(map(len, texts))


def test_models_and_refusals_are_known_to_the_client(client, opened, name):
    assert [model.id for model in client.models.list()] == [name]
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError, match="There is no model 'gpt-4'"):
        client.completions.create(model="gpt-4", prompt="a")
    with pytest.raises(
        openai.BadRequestError, match="nothing of it can be spelled|llguidance"
    ):
        client.chat.completions.create(
            model=name,
            messages=[{"role": "user", "content": "a"}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "object"}},
            },
        )
    with pytest.raises(openai.BadRequestError, match="65 tokens, and the model reads"):
        client.completions.create(model=name, prompt="a" * 65)


def test_a_key_is_asked_for_where_there_is_one(served, name):
    with served(Limits(), key="right") as (server, _):
        asked = {"base_url": f"{server.address}/v1", "max_retries": 0}
        with openai.OpenAI(**asked, api_key="right") as client:
            assert client.models.list().data[0].id == name
        for wrong in ("wrong", "righ", "right2"):
            with (
                openai.OpenAI(**asked, api_key=wrong) as client,
                pytest.raises(openai.AuthenticationError, match="missing or wrong"),
            ):
                client.models.list()
