"""The table: means, spreads and published figures, read from results."""

import json

import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.runs.table import as_measure, duration, rows_below, short

POLICY = "windows of 8"


def write(root, name, variant, seed, loss, published=None, **more):
    write_result(root / name / variant / f"seed{seed}", loss, published, **more)


def write_result(folder, loss, published=None, **more):
    folder.mkdir(parents=True)
    result = {
        "corpus": "ptb",
        "published": published,
        "watch": "likelihood",
        "policy": POLICY,
        "steps": 50,
        "best": {"step": 40, "loss": 0.0},
        "scores": [entry({"loss": loss, "bits_per_byte": loss / 2})],
        "parameters": 4_651_600,
        "tokens": 12_079_600,
        "seconds": 754.0,
    } | more
    (folder / "result.json").write_text(json.dumps(result))


def entry(scores, split="validation", step=50, **more):
    kind = {"evaluation": "likelihood", "corpus": "ptb", "policy": POLICY}
    return kind | {"split": split, "step": step, "scores": scores} | more


FIGURE = {"value": 4.0, "source": "somebody", "split": "validation", "score": "loss"}


def names_of(folder):
    """How many results each row has, by corpus and name."""
    corpora = rows_below(folder)
    return {c: {r.name: len(r.results) for r in rows} for c, rows in corpora.items()}


def test_rows_have_mean_spread_and_the_published_figure(tmp_path, capsys):
    for seed, loss in enumerate((4.1, 4.3)):
        write(tmp_path, "lstm", "base", seed, loss, FIGURE)
    write(tmp_path, "lstm", "tied", 0, 3.9)
    assert main(["table", str(tmp_path)]) == 0
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "ptb, validation loss, at the end"
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


def test_only_the_watched_evaluation_of_the_runs_own_text_is_shown(tmp_path):
    end, best = entry({"loss": 4.0}), entry({"loss": 3.5}, step=40)
    others = [
        entry({"loss": 1.0}, evaluation="NeuralCache(500)"),
        entry({"loss": 1.0}, corpus="text8"),
        entry({"loss": 1.0}, policy="windows of 8, 2 of them scored"),
        entry({"loss": 1.0}, step=45),
    ]
    write(tmp_path, "lstm", "base", 0, 9.0, scores=[*others, end, best, *others])
    (row,) = rows_below(tmp_path)["ptb"]
    assert row.figures(("validation", "loss"), "end") == [4.0]
    assert row.figures(("validation", "loss"), "best") == [3.5]
    assert row.figures(("test", "loss"), "best") == []


def test_best_and_last_never_stand_in_one_table(tmp_path, capsys):
    end, best = entry({"loss": 4.0}), entry({"loss": 3.0}, "test", 40)
    last = entry({"loss": 3.3}, "test")
    both = {"best": {"step": 50, "loss": 1.0}}
    write(tmp_path, "lstm", "base", 0, 4.0, scores=[end, best, last])
    write(tmp_path, "lstm", "base", 1, 4.0, scores=[end, best])
    write(tmp_path, "gpt", "base", 0, 4.0, scores=[end, last])
    write(tmp_path, "ngram", "base", 0, 4.0, scores=[last], **both)
    assert main(["table", str(tmp_path), "--measure", "test loss"]) == 0
    tables = capsys.readouterr().out.split("ptb, test loss, ")[1:]
    assert [table.splitlines()[0] for table in tables] == [
        "at the end",
        "of the best checkpoint",
    ]
    rows = [[line.split()[:3] for line in t.splitlines()[2:]] for t in tables]
    assert rows[0] == [["gpt", "-", "3.300"]]
    assert rows[1] == [["lstm", "-", "3.000"], ["ngram", "-", "3.300"]]


@pytest.mark.parametrize(
    "unlike",
    [{"parameters": 9}, {"steps": 9}, {"model": "GRU"}, {"published": FIGURE}],
)
def test_unlike_results_are_rows_of_their_own(tmp_path, unlike):
    for seed in (0, 2):
        write(tmp_path, "lstm", "base", seed, 4.0)
    write(tmp_path, "lstm", "base", 1, **{"loss": 2.0} | unlike)
    names = {"lstm seed0 seed2": 2, "lstm seed1": 1}
    assert names_of(tmp_path) == {"ptb": names}


def test_the_digest_of_the_recipe_tells_which_seeds_are_alike(tmp_path):
    for seed, rate, steps in ((0, 1.0, 50), (1, 1.0, 40), (2, 2.0, 50)):
        published = FIGURE if seed == 1 else None
        more = {"steps": steps, "recipe": f"digest of rate {rate}"}
        write(tmp_path, "lstm", "base", seed, 4.0, published, **more)
    assert names_of(tmp_path) == {"ptb": {"lstm seed0 seed1": 2, "lstm seed2": 1}}
    row, _ = rows_below(tmp_path)["ptb"]
    assert row.published == (("validation", "loss"), 4.0)


def test_a_run_that_lies_elsewhere_is_named_by_its_folder(tmp_path, capsys):
    write_result(tmp_path / "alibi", 4.0)
    write_result(tmp_path / ("a-longer-name-" * 3), 4.0)
    write(tmp_path, "lstm", "base", 0, 4.0)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "result.json").write_text("{}")
    assert main(["table", str(tmp_path)]) == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    names = {row.split()[0] for row in rows}
    assert names == {"alibi", "a-longer-name-a-longer-nam…", "lstm"}
    assert {len(row) for row in rows} == {80}


def test_a_table_of_the_folder_that_one_is_in(tmp_path, monkeypatch, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0)
    for below in ("lstm", "lstm/base", "lstm/base/seed0"):
        monkeypatch.chdir(tmp_path / below)
        assert main(["table", "."]) == 0
        assert "  lstm  " in capsys.readouterr().out
    assert main(["table", "../.."]) == 0
    assert "  lstm  " in capsys.readouterr().out


def test_what_no_row_was_scored_by_is_no_measure(tmp_path, capsys):
    scores = {"loss": 4.0, "masked_accuracy": 0.3}
    worse = scores | {"masked_accuracy": 0.0}
    write(tmp_path, "bert", "base", 0, 4.0, scores=[entry(scores)])
    write(tmp_path, "bert", "worse", 0, 3.0, scores=[entry(worse)])
    test = FIGURE | {"split": "test"}
    other = [entry({"loss": 5.0}, corpus="text8")]
    write(tmp_path, "lstm", "base", 0, 5.0, test, corpus="text8", scores=other)
    assert main(["table", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ptb, validation masked accuracy" in said
    assert "text8, validation loss" in said
    assert said.count("perplexity") == said.count("bits per byte") == 0
    assert 0 < said.index("  bert  ") < said.index("  bert:worse  ")
    assert "  lstm  " in said


def test_a_measure_that_no_run_has_is_an_error(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0)
    assert main(["table", str(tmp_path), "--measure", "validation bpb"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "was scored by 'validation bpb'" in said


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
