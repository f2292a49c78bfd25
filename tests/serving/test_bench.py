"""The bench asks a small model over HTTP, and says what it measured."""

import json

import pytest

from lm_jax.__main__ import main

pytest.importorskip("uvicorn", reason="needs the extra `serve`")


def test_one_client_and_several_are_measured(capsys, tmp_path):
    small = ["--layers", "1", "--width", "64", "--vocab", "50", "--clients", "3"]
    small += ["--prompt", "5", "--tokens", "6", "--turns", "2", "--minutes", "0.005"]
    file = tmp_path / "found.json"
    assert main(["bench", "serve", *small, "--write", str(file)]) == 0
    said, found = capsys.readouterr().out, json.loads(file.read_text())
    assert "3 clients" in said and "Memory over 0.005 minutes" in said
    assert max(map(len, said.splitlines())) <= 80
    assert 0 < found["lowest"] <= found["ratio"] <= found["highest"]
    assert found["many"] > 0 < found["one"] and found["memory"][0]["megabytes"] > 10
    assert main(["bench", "serve", "--clients", "1"]) == 2
