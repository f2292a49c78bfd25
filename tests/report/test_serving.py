"""The served page is the report's, follows the files, and nothing else is served."""

import os
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.report.serving import Live, server_of
from tests.report.made import made


@contextmanager
def served(*paths):
    with server_of(Live([Path(path) for path in paths]), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


def asked(address, path="/", method="GET", **headers):
    connection = HTTPConnection(*address, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, answer.headers.get("ETag"), content


def test_the_page_is_served_on_loopback_and_nothing_else():
    made()
    with served("runs/tiny") as address:
        assert address[0] == "127.0.0.1"
        status, tag, text = asked(address)
        assert status == 200 and "wide against base: worse." in text
        assert asked(address, method="HEAD") == (200, tag, "")
        for path in ("/sweep.json", "/base/seed0/metrics.jsonl", "/../tiny.py"):
            assert asked(address, path)[0] == 404
        assert asked(address, method="POST")[0] == 501
        assert asked(address, Host="elsewhere.example:80")[0] == 404
        assert asked(address, Host=f"localhost:{address[1]}")[0] == 200


def test_what_changes_is_seen_and_what_cannot_be_read_is_said():
    plan = made()
    result = plan.cells[0].run / "result.json"
    with served("runs/tiny") as address:
        _, before, _ = asked(address)
        assert asked(address, method="HEAD")[1] == before
        result.unlink()
        _, after, text = asked(address)
        assert after != before and "No verdict: 1 of 10 runs" in text
        Path("runs/tiny/sweep.json").write_text("{")
        os.utime("runs/tiny/sweep.json", (1, 1))
        status, _, text = asked(address)
        assert status == 200 and "Not yet: " in text and "can't be read" in text


def test_a_port_that_is_taken_is_one_message(capsys):
    made()
    with served("runs/tiny") as address:
        with pytest.raises(UserError, match="can't be listened on"):
            server_of(Live([]), address[1])
        assert main(["watch", "runs/tiny", "--port", str(address[1])]) == 2
    assert main(["watch", "runs/tiny", "--port", "70000"]) == 2
    assert "70000" in capsys.readouterr().err


def test_ctrl_c_ends_with_a_sentence(monkeypatch, capsys):
    def interrupted(server):
        raise KeyboardInterrupt

    made()
    monkeypatch.setattr(
        "lm_jax.report.serving.ThreadingHTTPServer.serve_forever", interrupted
    )
    assert main(["watch", "runs/tiny"]) == 0
    said = capsys.readouterr().out
    assert "http://127.0.0.1:" in said and said.endswith("the runs go on.\n")
