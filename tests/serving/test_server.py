"""What is malformed, too large, too slow or strange is refused; slots come back."""

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_jax.errors import UserError
from lm_jax.serving.asked import Limits
from tests.serving.test_engine import Slow, until

ROOT = Path(__file__).parents[2]
JSON = {"Content-Type": "application/json"}


def asked(server, path="/v1/completions", body=None, method=None, **headers):
    """Status and JSON of a response."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    connection.request(method, path, sent, JSON | headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    kind = answer.headers["Content-Type"] or ""
    return answer.status, json.loads(content) if "json" in kind else content.decode()


@pytest.fixture(scope="module")
def server(served):
    limits = Limits(body=2000, body_seconds=0.5, length=50, answers=4, texts=6)
    with served(limits) as (one, _):
        yield one


CHAT = "/v1/chat/completions"
MESSAGES = {"messages": [{"role": "user", "content": "the"}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "field", "message"),
    [
        ("/v1/completions", b"{", 400, None, "no JSON"),
        ("/v1/completions", b'"\xff"', 400, None, "no JSON"),
        ("/v1/completions", b"[" * 1500, 400, None, "no JSON"),
        ("/v1/completions", [1], 400, None, "no JSON object"),
        ("/v1/completions", {}, 400, "prompt", "prompt is missing"),
        ("/v1/completions", {"prompt": 5}, 400, "prompt", "give a text"),
        ("/v1/completions", {"prompt": ["a", 5]}, 400, "prompt", "5 is no text"),
        ("/v1/completions", {"prompt": ""}, 400, None, "prompt is empty"),
        ("/v1/completions", {"prompt": "é"}, 400, "prompt", "'é'"),
        ("/v1/completions", {"prompt": [999]}, 400, None, "token 999"),
        ("/v1/completions", {"prompt": "a" * 65}, 400, None, "65 tokens"),
        ("/v1/completions", {"prompt": "a", "n": 5}, 400, "n", "1 to 4"),
        ("/v1/completions", {"prompt": ["a"] * 3, "n": 2}, 400, "n", "more than 4"),
        (
            "/v1/completions",
            {"prompt": "a", "max_tokens": 51},
            400,
            "max_tokens",
            "1 to 50",
        ),
        (
            "/v1/completions",
            {"prompt": "a", "temperature": -1},
            400,
            "temperature",
            "0 (greedy)",
        ),
        (
            "/v1/completions",
            {"prompt": "a", "temperature": True},
            400,
            "temperature",
            "a number",
        ),
        (
            "/v1/completions",
            {"prompt": "a", "temperature": 10**400},
            400,
            "temperature",
            "a number",
        ),
        ("/v1/completions", {"prompt": "a", "\ud800": 1}, 400, None, "no JSON"),
        ("/v1/completions", {"prompt": "a", "stop": "\udfff"}, 400, None, "no JSON"),
        ("/v1/completions", {"prompt": "a", "stop": {}}, 400, "stop", "up to 4 texts"),
        ("/v1/completions", {"prompt": "a", "top_p": 0}, 400, "top_p", "above 0"),
        ("/v1/completions", {"prompt": "a", "typical": 2}, 400, "typical", "above 0"),
        (
            "/v1/completions",
            {"prompt": "a", "repetition_penalty": 0},
            400,
            "repetition_penalty",
            "above 0",
        ),
        (
            "/v1/completions",
            {"prompt": "a", "no_repeat_ngram": 0},
            400,
            "no_repeat_ngram",
            "1 to ",
        ),
        ("/v1/completions", {"prompt": "a", "seed": 2**32}, 400, "seed", "4294967295"),
        ("/v1/completions", {"prompt": "a", "stop": [""]}, 400, "stop", "none of them"),
        ("/v1/completions", {"prompt": "a", "stream": 1}, 400, "stream", "true or"),
        (
            "/v1/completions",
            {"prompt": "a", "tempratur": 1},
            400,
            "tempratur",
            "Did you mean 'temperature'",
        ),
        ("/v1/completions", {"prompt": "a", "best_of": 2}, 400, "best_of", "not done"),
        (
            "/v1/completions",
            {"prompt": "a", "echo": True, "logprobs": 1},
            400,
            "logprobs",
            "leave one",
        ),
        ("/v1/completions", {"prompt": "a", "model": "x"}, 404, "model", "There is: "),
        ("/v1/completions", {"prompt": "a" * 2000}, 413, None, "more than 2000 bytes"),
        (CHAT, {"messages": []}, 400, "messages", "list of turns"),
        (CHAT, {"messages": [{"role": "x", "content": ""}]}, 400, "messages", "'x'"),
        (CHAT, {"messages": [{"role": "user"}]}, 400, "messages", "[0].content"),
        (CHAT, MESSAGES | {"top_logprobs": 2}, 400, "top_logprobs", "logprobs=true"),
        (
            CHAT,
            MESSAGES | {"response_format": {"type": "json_object"}},
            400,
            "response_format",
            "response_format: ",
        ),
        ("/v1/embeddings", {"input": []}, 400, "input", "give a text"),
        ("/v1/embeddings", {"input": "a" * 65}, 400, None, "65 tokens"),
        ("/v1/embeddings", {"input": [5, 999]}, 400, None, "token 999"),
        ("/v1/embeddings", {"input": ["a"] * 7}, 400, "input", "more than 6 texts"),
        (
            "/v1/embeddings",
            {"input": "a", "dimensions": 5},
            400,
            "dimensions",
            "dimensions=5: vectors have ",
        ),
        (
            "/v1/embeddings",
            {"input": "a", "encoding_format": "hex"},
            400,
            "encoding_format",
            "float or base64",
        ),
        (
            "/v1/embeddings",
            {"input": "a", "input_type": "query"},
            400,
            "input_type",
            "There is no input_type",
        ),
        ("/v1/nothing", {}, 404, None, "POST /v1/nothing: Not Found"),
        ("/v1/completions", None, 405, None, "Not Allowed"),
    ],
)
def test_what_is_malformed_or_too_much_is_refused(
    server, path, body, status, field, message
):
    found, told = asked(server, path, body)
    assert found == status, told
    assert message in told["error"]["message"] and told["error"]["param"] == field
    assert set(told["error"]) == {"message", "type", "param", "code"}


def test_strangers_and_their_pages_are_refused(server):
    """By the Host that a name elsewhere has, by the Origin, by what a form sends."""
    good = {"prompt": "a", "max_tokens": 1}
    ours = f"localhost:{server.port}"
    assert asked(server, body=good)[0] == 200
    assert asked(server, body=good, Host=ours, Origin=f"http://{ours}")[0] == 200
    for host in (
        "elsewhere.example",
        "localhost.evil.example",
        "",
        "a@[",
        "127.0.0.1x",
    ):
        assert asked(server, body=good, Host=host)[0] == 403
    for origin in ("http://elsewhere.example", "null", "http://localhost:1"):
        assert asked(server, body=good, Host=ours, Origin=origin)[0] == 403
    form = {"Content-Type": "text/plain"}
    assert asked(server, body=json.dumps(good).encode(), **form)[0] == 415
    preflight = asked(server, method="OPTIONS", Origin=f"http://{ours}", Host=ours)
    assert preflight[0] == 405


def received(server, *sent, pause=0.0):
    """What comes back over a bare connection until it is closed."""
    with socket.create_connection((server.host, server.port), timeout=20) as line:
        for part in sent:
            line.sendall(part)
            time.sleep(pause)
        found = b""
        while part := line.recv(4096):
            found += part
    return found.decode()


def test_the_slow_are_sent_away(server):
    """In the head of a request and in its body."""
    assert received(server, b"POST /v1/comp").startswith("HTTP/1.1 408")
    assert received(server).startswith("HTTP/1.1 408")
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    )
    found = received(server, head)
    assert found.startswith("HTTP/1.1 408") and "took more than 0.5 seconds" in found
    kept = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = received(server, kept, kept + kept + b"GET /he")
    assert found.count("HTTP/1.1 200") == 3 and "HTTP/1.1 408" in found
    assert received(server, b"nonsense\r\n\r\n").startswith("HTTP/1.1 400")
    assert asked(server, "/health") == (200, {"status": "ok"})


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(served, single, stream):
    """While it waits, while its prompt is read, and while its answer is written."""
    slow = Slow(single, slots=1, piece=2)
    body = {"prompt": "a" * 40, "max_tokens": 20, "stream": stream}
    with served(Limits(), model=slow) as (server, engine):

        def leave(moment):
            slow.pieces, slow.steps = [], 0
            lines = []
            for _ in range(2):  # the second one waits for the first one's slot
                line = http.client.HTTPConnection(server.host, server.port, timeout=9)
                line.request("POST", "/v1/completions", json.dumps(body), JSON)
                lines.append(line)
            until(lambda: engine.waiting)
            until(lambda: slow.steps > 1 if moment == "writing" else slow.pieces)
            for line in reversed(lines):
                line.close()
            until(lambda: not engine.running and not engine.waiting)
            assert slow.steps < 15

        leave("reading")
        leave("writing")
        assert engine.counts.left == 4 and engine.counts.answered == 0
        assert asked(server, body={"prompt": "a"})[0] == 200


def test_a_full_queue_and_a_request_whose_time_is_up(served, single):
    slow = Slow(single, slots=1)
    limits = Limits(queue=0, seconds=0.3)
    with served(limits, model=slow) as (server, engine):
        line = http.client.HTTPConnection(server.host, server.port, timeout=9)
        body = json.dumps({"prompt": "a", "max_tokens": 60})
        line.request("POST", "/v1/completions", body, JSON)
        until(lambda: engine.running)
        status, told = asked(server, body={"prompt": "a"})
        assert status == 429 and told["error"]["code"] == "queue_full"
        answer = json.loads(line.getresponse().read())
        line.close()
        (choice,) = answer["choices"]
        assert choice["finish_reason"] == "length" and 0 < len(choice["text"]) < 60
        slow.piece = 1
        status, told = asked(server, body={"prompt": "a" * 60})
        assert status == 408 and told["error"]["code"] == "timeout"


def test_a_server_that_ends_finishes_what_it_began(served, single):
    slow = Slow(single, slots=1)
    with served(Limits(), model=slow) as (server, engine):
        line = http.client.HTTPConnection(server.host, server.port, timeout=9)
        body = json.dumps({"prompt": "a", "max_tokens": 30, "stream": True})
        line.request("POST", "/v1/completions", body, JSON)
        until(lambda: slow.steps)
    assert line.getresponse().read().decode().endswith("data: [DONE]\n\n")
    line.close()


def test_metrics_count(served):
    with served() as (server, _):
        for _ in range(3):
            asked(server, body={"prompt": "the", "max_tokens": 4})
        asked(server, body={"prompt": 5})
        asked(server, "/no%0Asuch%22")
        asked(server, "/strange%0A%22", Host="elsewhere.example")
        asked(server, "/v1/models/%22", method="POST")
        _, text = asked(server, "/metrics")
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    where = 'lm_jax_requests_total{path="/v1/completions",status="%d"}'
    assert numbers[where % 200] == "3" and numbers[where % 400] == "1"
    elsewhere = 'lm_jax_requests_total{path="",status="%d"}'
    assert [numbers[elsewhere % status] for status in (403, 404, 405)] == ["1"] * 3
    assert numbers["lm_jax_prompt_tokens_total"] == "9"
    assert numbers["lm_jax_written_tokens_total"] == "12"
    assert numbers["lm_jax_running"] == numbers["lm_jax_waiting"] == "0"
    assert float(numbers["lm_jax_first_token_seconds_total"]) > 0
    assert int(numbers["lm_jax_memory_bytes"]) > 10**6


def test_a_fault_of_ours_is_told_once_and_traced(served, monkeypatch, capfd):
    with served() as (server, _):
        monkeypatch.setattr("lm_jax.serving.app.asked_text", lambda *_: 1 / 0)
        status, told = asked(server, body={"prompt": "a"})
        assert status == 500 and told["error"]["type"] == "server_error"
        assert "ZeroDivisionError" in told["error"]["message"]
        _, text = asked(server, "/metrics")
    assert 'path="/v1/completions",status="500"} 1\n' in text
    assert capfd.readouterr().err.count("Traceback") == 1


def test_a_port_that_is_taken_is_one_message(server, run, capsys):
    from lm_jax.__main__ import main
    from lm_jax.serving.server import listen

    with pytest.raises(UserError, match="can't be listened on"):
        listen("127.0.0.1", server.port)
    assert main(["serve", str(run), "--port", str(server.port)]) == 2
    assert main(["serve", str(run), "--slots", "0"]) == 2
    assert main(["serve", str(run), "--port", "0", "--key-file", "nothing"]) == 2
    empty = run.parent / "empty"
    empty.write_text("\nkey")
    assert main(["serve", str(run), "--port", "0", "--key-file", str(empty)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "its first line is empty" in said and "slots=0" in said


@pytest.mark.slow
def test_killed_it_starts_again_and_sigterm_ends_it_with_0(run):
    pytest.importorskip("uvicorn", reason="needs the extra `serve`")
    pytest.importorskip("jinja2", reason="needs the extra `serve`")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LM_JAX_KEY": ""}
    port = 0
    for number, code in (
        (signal.SIGKILL, -signal.SIGKILL),
        (signal.SIGTERM, 0),
        (signal.SIGINT, 130),
    ):
        command = [sys.executable, "-m", "lm_jax", "serve", "run", "--port", str(port)]
        process = subprocess.Popen(
            command,
            cwd=run.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stdout.readline()
        assert "Serving " in line, process.communicate()[1]
        port = int(line.split("127.0.0.1:")[1].split("/")[0])

        class Server:
            host = "127.0.0.1"

        Server.port = port
        assert asked(Server, "/health")[0] == 200
        assert asked(Server, body={"prompt": "a"})[0] == 200
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == code and "Traceback" not in errors, errors


def test_handlers_of_other_logs_stay_open(served, tmp_path):
    """Uvicorn's own settings close those that are there."""
    logger, handler = logging.getLogger("other"), logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    try:
        with served():
            assert handler.stream is not None
    finally:
        logger.removeHandler(handler)
        handler.close()
