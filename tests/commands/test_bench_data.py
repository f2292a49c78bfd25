"""The benchmark of data: its text, and what a child measures of it."""

import json

from lm_jax.commands.bench_data import child, write_text


def test_the_benchmarks_text_and_figures(tmp_path, capsys):
    path = tmp_path / "text.txt"
    write_text(path, 3_000_000)
    text = path.read_text(encoding="utf-8")
    assert abs(path.stat().st_size - 3_000_000) < 10
    assert "月" in text and text[:1_000_000] not in text[1_000_000:]
    found = {}
    for side in ("lm_jax", "tokenizers"):
        child("words", str(path), str(tmp_path / side), side)
        found[side] = json.loads(capsys.readouterr().out)
        assert found[side]["peak"] > 0
    # The library leaves line ends out, and splits, whose ends may cut a word.
    ours, theirs = (figures["tokens"] for figures in found.values())
    assert theirs > 400_000
    assert 0 <= ours - text.count("\n") - theirs <= 1
