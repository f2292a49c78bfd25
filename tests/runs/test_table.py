"""The table: means, spreads and published figures, read from results."""

import json

import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.runs.table import as_measure, duration, rows_below, short


def write(root, name, variant, seed, loss, published=None, **more):
    folder = root / name / variant / f"seed{seed}"
    folder.mkdir(parents=True)
    result = {
        "corpus": "ptb",
        "published": published,
        "validation": {"loss": loss, "bits_per_byte": loss / 2},
        "parameters": 4_651_600,
        "tokens": 12_079_600,
        "seconds": 754.0,
    } | more
    (folder / "result.json").write_text(json.dumps(result))


FIGURE = {"value": 4.0, "source": "somebody", "split": "validation", "score": "loss"}


def test_rows_have_mean_spread_and_the_published_figure(tmp_path, capsys):
    for seed, loss in enumerate((4.1, 4.3)):
        write(tmp_path, "lstm", "base", seed, loss, FIGURE)
    write(tmp_path, "lstm", "tied", 0, 3.9)
    assert main(["table", str(tmp_path)]) == 0
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "ptb, validation loss"
    assert [row.split()[0] for row in rows] == ["lstm:tied", "lstm"]
    wanted = "4 4.200 ± 0.14 2 4.65M 12.1M 13m".split()  # noqa: SIM905
    assert rows[1].split()[1:] == wanted
    assert rows[0].split()[1:] == ["-", "3.900", "1", "4.65M", "12.1M", "13m"]


def test_another_measure_can_be_asked_for(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0, FIGURE)
    assert main(["table", str(tmp_path), "--measure", "validation bits_per_byte"]) == 0
    said = capsys.readouterr().out
    assert "validation bits per byte" in said and " 2.000 " in said
    assert main(["table", str(tmp_path), "--measure", "loss"]) == 2


def test_the_last_checkpoints_score_stands_before_the_best_ones(tmp_path):
    more = {"best_validation": {"loss": 3.5}, "best_test": {"loss": 3.0}}
    write(tmp_path, "lstm", "base", 0, 4.0, **more)
    (row,) = rows_below(tmp_path)["ptb"]
    assert row.figures(("validation", "loss")) == [4.0]
    assert row.figures(("test", "loss")) == [3.0]
    assert row.figures(("train", "loss")) == []


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no results below"):
        rows_below(tmp_path)


def test_the_committed_results_fit_the_screen(capsys):
    assert main(["table"]) == 0
    said = capsys.readouterr().out
    assert "gpt_shakespeare" in said
    assert max(map(len, said.splitlines())) <= 80


def test_numbers_are_short():
    assert [short(n) for n in (12, 2_317_229, 929_589, 1.2e9)] == [
        "12",
        "2.32M",
        "930k",
        "1.2B",
    ]
    assert [duration(s) for s in (4.25, 754, 9000)] == ["4.2s", "13m", "2.5h"]
    assert as_measure("test perplexity") == ("test", "perplexity")
