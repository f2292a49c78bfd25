"""The benchmark of data: its text, and what a child measures of it."""

import json

from lm_jax.commands.bench_data import child, write_text


def test_the_benchmarks_text_and_figures(tmp_path, capsys):
    path = tmp_path / "text.txt"
    write_text(path, 3_000_000)
    text = path.read_text(encoding="utf-8")
    assert abs(path.stat().st_size - 3_000_000) < 10
    assert "月" in text and text[:1_000_000] not in text[1_000_000:]
    child("words", str(path), str(tmp_path / "cache"))
    figures = json.loads(capsys.readouterr().out)
    assert figures["tokens"] > 400_000 and figures["peak"] > 0
