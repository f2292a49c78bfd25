"""The table: means, spreads and published figures, read from results."""

import csv
import io
import itertools
import json
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.runs.figures import decimals, duration, figure, short, size
from lm_jax.runs.pairs import differences
from lm_jax.runs.result import mark_longer
from lm_jax.runs.rows import as_measure, larger_is_better, results_below, rows_of
from lm_jax.runs.table import lines

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


def rows_below(folder):
    return rows_of(results_below(folder)[0])


def names_of(folder):
    """How many results each row has, by corpus and name."""
    corpora = rows_below(folder)
    return {c: {r.name: len(r.runs) for r in rows} for c, rows in corpora.items()}


def shown(capsys, *args):
    """What `table` prints; it fits 80 columns."""
    capsys.readouterr()
    assert main(["table", *map(str, args)]) == 0
    said = capsys.readouterr().out
    assert max(map(cell_len, said.splitlines())) <= 80
    return said


def refused(capsys, *args):
    capsys.readouterr()
    assert main(["table", *map(str, args)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    return " ".join(said.err.split())


def table(capsys, *args):
    """The lines of one table as words, without its title and what "-" means."""
    said = shown(capsys, *args).partition("\n-: ")[0]
    return [line.split() for line in said.splitlines()[1:]]


def test_rows_have_mean_spread_and_the_published_figure(tmp_path, capsys):
    for seed, loss in enumerate((4.1, 4.3)):
        write(tmp_path, "lstm", "base", seed, loss, FIGURE)
    write(tmp_path, "lstm", "tied", 0, 3.9)
    title, *_ = shown(capsys, tmp_path).splitlines()
    assert title == "ptb, validation loss"
    head, seen, *rows = table(capsys, tmp_path)
    names = ["published", "last", "step", "seeds", "params", "tokens", "time"]
    assert head == names
    assert seen == ["seen", "before", "each:", *POLICY.split()]
    about = ["4.65M", "12.1M", "13m"]
    assert rows[0] == ["lstm:tied", "-", "3.90", "1", *about]
    assert rows[1] == ["lstm", "4", "4.20", "±0.14", "2", *about]


def test_another_measure_can_be_asked_for(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0, FIGURE)
    for asked in ("validation bits_per_byte", "validation  bits per byte"):
        said = shown(capsys, tmp_path, "--measure", asked)
        assert "validation bits per byte" in said and " 2.000 " in said


@pytest.mark.parametrize("format", [(), ("--csv",), ("--markdown",)])
@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("validation acc", "validation accuracy"),
        ("validation bpb", "validation"),
        ("valid loss", "validation loss"),
        ("loss", "validation loss"),
        ("test accuracy", "validation accuracy"),
        ("validation tokens", "There is"),
    ],
)
def test_a_measure_that_no_run_has_names_those_there_are(
    tmp_path, capsys, asked, near, format
):
    scores = {"loss": 4.0, "accuracy": 0.5, "tokens": 9}
    write(tmp_path, "lstm", "base", 0, 4.0, scores=[entry(scores)])
    said = refused(capsys, tmp_path, "--measure", asked, *format)
    assert f"scored by '{asked}'" in said
    assert near in said
    assert "There is: validation accuracy, validation loss." in said


def test_a_corpus_without_the_measure_is_named(tmp_path, capsys):
    write_result(tmp_path / "a", 4.0)
    scores = [entry({"accuracy": 0.5}, corpus="trec")]
    write_result(tmp_path / "b", 4.0, corpus="trec", scores=scores)
    assert main(["table", str(tmp_path), "--measure", "validation loss"]) == 0
    said = capsys.readouterr()
    assert "trec" not in said.out and said.err.endswith("loss': trec.\n")


def test_scores_of_other_texts_and_steps_are_not_shown(tmp_path, capsys):
    others = [entry({"loss": 1.0}, corpus="text8"), entry({"loss": 1.0}, step=45)]
    end, best = entry({"loss": 4.0}), entry({"loss": 3.5}, step=40)
    write(tmp_path, "lstm", "base", 0, 9.0, scores=[*others, end, best, *others])
    _, _, row = table(capsys, tmp_path, "--measure", "validation loss")
    assert row[:3] == ["lstm", "3.500", "4.000"]


def test_what_was_scored_in_other_ways_never_shares_a_column(tmp_path, capsys):
    end, best = entry({"loss": 4.0}), entry({"loss": 3.5}, step=40)
    strided = entry({"loss": 3.0}, policy="windows of 8, 2 of them scored")
    cached = entry({"loss": 1.0}, evaluation="NeuralCache(500)")
    write(tmp_path, "lstm", "base", 0, 9.0, scores=[end, best, strided, cached])
    before = table(capsys, tmp_path, "--measure", "validation loss")
    head, *groups = before
    assert " ".join(head).startswith("best step last step")
    assert [" ".join(line) for line in groups[::2]] == [
        f"seen before each: {POLICY}; by NeuralCache(500)",
        "seen before each: windows of 8, 2 of them scored",
        f"seen before each: {POLICY}",
    ]
    figures = [line[1:3] for line in groups[1::2]]
    assert figures == [["-", "1.000"], ["-", "3.000"], ["3.500", "4.000"]]


def test_a_later_score_of_another_step_changes_no_column(tmp_path, capsys):
    """The end of one run never stands beside the best of another."""
    test_end, test_best = entry({"loss": 3.3}, "test"), entry({"loss": 3.0}, "test", 40)
    for variant, scores in {
        "gpt": [test_end],
        "lstm": [test_best, test_end],
        "both": [test_end, test_best],
    }.items():
        write(tmp_path, "x", variant, 0, 4.0, scores=scores)
    ended = {"best": {"step": 50, "loss": 1.0}}
    write(tmp_path, "x", "ngram", 0, 4.0, scores=[test_end], **ended)
    head, _, *rows = table(capsys, tmp_path, "--measure", "test loss")
    assert head[:4] == ["best", "step", "last", "step"]
    found = {row[0]: row[1:3] for row in rows}
    assert found == {
        "x:gpt": ["-", "3.300"],
        "x:lstm": ["3.000", "3.300"],
        "x:both": ["3.000", "3.300"],
        "x:ngram": ["3.300", "3.300"],
    }
    said = " ".join(shown(capsys, tmp_path, "--measure", "test loss").split())
    assert "not scored so. `evaluate RUN --split test` scores those of the best" in said
    path = tmp_path / "x" / "gpt" / "seed0" / "result.json"
    result = json.loads(path.read_text())
    for step, best in ((45, "-"), (40, "2.900")):
        result["scores"].append(entry({"loss": 2.9}, "test", step))
        path.write_text(json.dumps(result))
        _, _, *rows = table(capsys, tmp_path, "--measure", "test loss")
        assert {row[0]: row[1:3] for row in rows} == found | {"x:gpt": [best, "3.300"]}
    assert "evaluate RUN" not in shown(capsys, tmp_path, "--measure", "test loss")


def test_where_all_runs_ended_at_their_best_there_is_one_column(tmp_path, capsys):
    ended = {"best": {"step": 50, "loss": 1.0}}
    write(tmp_path, "lstm", "base", 0, 4.0, **ended)
    assert "best = last" in shown(capsys, tmp_path)
    write(tmp_path, "lstm", "tied", 0, 4.0)
    assert "best = last" not in shown(capsys, tmp_path)


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


def test_another_text_of_the_same_name_stands_apart(tmp_path, capsys):
    """What was recorded before texts were is of the one text, if it is one."""
    write(tmp_path, "x", "old", 0, 3.0)
    write(tmp_path, "x", "base", 0, 4.0, text="one", recipe="r")
    write(tmp_path, "x", "base", 1, 4.1, text="one", recipe="r")
    assert names_of(tmp_path) == {"ptb": {"x": 2, "x:old": 1}}
    write(tmp_path, "x", "base", 2, 9.0, text="other", recipe="r")
    about = "content or split differs"
    assert names_of(tmp_path) == {
        f"ptb (text 1 of 2: {about})": {"x seed0 seed1": 2},
        f"ptb (text 2 of 2: {about})": {"x seed2": 1},
        f"ptb (unknown: {about})": {"x:old": 1},
    }
    titles = [t for t in shown(capsys, tmp_path).splitlines() if t.startswith("ptb")]
    assert [t.partition(",")[0] for t in titles] == sorted(names_of(tmp_path))
    capsys.readouterr()
    assert main(["table", str(tmp_path), "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = [(line["corpus"], line["text"], line["seed"]) for line in lines]
    assert sorted(found) == [
        ("ptb", t, s) for t, s in zip(("", "one", "one", "other"), "0012", strict=True)
    ]


def test_a_score_of_another_text_of_the_same_name_is_not_shown(tmp_path, capsys):
    own, other = entry({"loss": 4.0}, text="one"), entry({"loss": 1.0}, text="other")
    write(tmp_path, "x", "base", 0, 9.0, text="one", scores=[own, other])
    assert table(capsys, tmp_path)[-1][1] == "4.000"


@pytest.mark.parametrize(
    "name",
    [
        "a-longer-name-" * 3,
        "one_that_has_a_line_of_its_own_and_more_" * 4,
        "唐诗三百首" * 5,
        "唐诗三百首的每一个字都在这里" * 6,
        "x" * 37,
    ],
)
def test_a_name_of_any_length_is_whole_and_no_column_is_moved(tmp_path, capsys, name):
    write_result(tmp_path / name, 4.0)
    write_result(tmp_path / "alibi", 4.5)
    head, *_, last = shown(capsys, tmp_path).splitlines()[1:]
    said = shown(capsys, tmp_path)
    assert name in said.replace("\n  ", "")
    assert "…" not in said
    ends = [cell_len(line) for line in said.splitlines() if line.endswith("13m")]
    assert ends == [cell_len(head)] * 2 and last.split()[0] == "alibi"


def test_a_run_that_lies_elsewhere_is_named_by_its_folder(tmp_path, capsys):
    write_result(tmp_path / "alibi", 4.0)
    write(tmp_path, "lstm", "base", 0, 4.0)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "result.json").write_text("{}")
    _, _, *rows = table(capsys, tmp_path)
    assert {row[0] for row in rows} == {"alibi", "lstm"}


def test_a_table_of_the_folder_that_one_is_in(tmp_path, monkeypatch, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0)
    for below in ("lstm", "lstm/base", "lstm/base/seed0"):
        monkeypatch.chdir(tmp_path / below)
        assert "  lstm " in shown(capsys, ".")
    assert "  lstm " in shown(capsys, "..")
    assert "  lstm " in shown(capsys, "../..")


def test_rows_of_one_name_are_told_apart(tmp_path):
    for folder in ("wide", "deep/er"):
        write(tmp_path / folder, "lstm", "base", 0, 4.0)
        write(tmp_path / folder, "lstm", "tied", 0, 4.0)
    write_result(tmp_path / "x" / "alone", 4.0)
    write_result(tmp_path / "y" / "alone", 4.0)
    names = {f"{f}/lstm{v}" for f in ("wide", "deep/er") for v in ("", ":tied")}
    assert set(names_of(tmp_path)["ptb"]) == names | {"x/alone", "y/alone"}


def test_what_a_terminal_would_obey_in_a_name_is_spelled(tmp_path, capsys):
    write(tmp_path, "a\nb", "\x1b[31m", 0, 4.0)
    write(tmp_path / "\u202ex", "lstm", "base", 0, 4.0)
    write(tmp_path / "y", "lstm", "base", 0, 4.0)
    write_result(tmp_path / "\x1b[0m", 4.0)
    told = shown(capsys, tmp_path)
    for name in ("a\\nb:\\x1b[31m", "\\u202ex/lstm", "y/lstm", "\\x1b[0m"):
        assert name in told
    assert not set("\x1b\u202e") & set(told)


def test_a_result_that_lacks_something_is_left_out_and_named(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "result.json").write_text('{"corpus": "x", "loss": 3}')
    assert main(["table", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "old/result.json lacks parameters, policy, scores" in said


def test_what_no_row_was_scored_by_is_no_measure(tmp_path, capsys):
    scores = {"loss": 4.0, "masked_accuracy": 0.3}
    worse = scores | {"masked_accuracy": 0.0}
    write(tmp_path, "bert", "base", 0, 4.0, scores=[entry(scores)])
    write(tmp_path, "bert", "worse", 0, 3.0, scores=[entry(worse)])
    test = FIGURE | {"split": "test"}
    other = [entry({"loss": 5.0}, corpus="text8")]
    write(tmp_path, "lstm", "base", 0, 5.0, test, corpus="text8", scores=other)
    said = shown(capsys, tmp_path)
    assert "ptb, validation masked accuracy" in said
    assert "text8, validation loss" in said
    assert said.count("perplexity") == said.count("bits per byte") == 0
    assert 0 < said.index("  bert ") < said.index("  bert:worse ")
    assert "  lstm " in said


def test_a_run_says_itself_whether_more_is_better(tmp_path, capsys):
    for variant, score in (("base", 0.2), ("good", 0.9)):
        scores = [entry({"f1": score})]
        more = {"best": {"step": 50, "f1": score}, "larger_is_better": True}
        write(tmp_path, "x", variant, 0, 4.0, scores=scores, **more)
    said = shown(capsys, tmp_path, "--measure", "validation f1")
    assert said.index("x:good") < said.index("x  ")


@pytest.mark.parametrize("larger", [False, True])
def test_an_evaluation_that_runs_are_not_judged_by_says_what_is_better(
    larger, tmp_path, capsys
):
    for variant, score in (("less", 0.2), ("more", 0.9)):
        scores = [entry({"loss": 1.0}), entry({"gap": score}, evaluation="mine")]
        said = {"directions": {"loss": False, "gap": larger}}
        more = {"best": {"step": 50, "loss": 1.0}, "larger_is_better": False} | said
        write(tmp_path, "x", variant, 0, 4.0, scores=scores, **more)
    said = shown(capsys, tmp_path, "--measure", "validation gap")
    assert (said.index("x:more") < said.index("x:less")) == larger


@pytest.mark.parametrize(
    ("more", "scores"),
    [
        (True, "in_batch_accuracy macro_f1 matthews mrr ndcg@10 recall@100 margin"),
        (True, "rougeL bleu chrf exact_match precision pearson men/spearman passed"),
        (False, "loss masked_loss perplexity bits_per_byte mean_error error"),
        (False, "spelling_bits_per_byte calibration_error"),
    ],
)
def test_of_what_no_run_is_judged_by_the_name_tells(more, scores, tmp_path, capsys):
    assert {larger_is_better([], ("test", s)) for s in scores.split()} == {more}
    first, *_ = scores.split()
    for variant, score in (("less", 0.2), ("more", 0.9)):
        found = [entry({"f1": 0.5, first: score})]
        judged = {"best": {"step": 50, "f1": 0.5}, "larger_is_better": True}
        write(tmp_path, "x", variant, 0, 4.0, scores=found, **judged)
    said = shown(capsys, tmp_path, "--measure", f"validation {first}")
    assert (said.index("x:more") < said.index("x:less")) == more


def test_a_folder_without_results_is_an_error(tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="no results below"):
        results_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = refused(capsys)
    assert "no results below runs" in said and "table --published" in said
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "experiment.json").write_text("{}")
    assert "one run has begun there and none has ended" in refused(capsys)


def test_runs_that_have_not_ended_are_counted(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0)
    assert main(["table", str(tmp_path)]) == 0
    assert "not ended" not in capsys.readouterr().err
    for name, words in (("a", "1 run that has"), ("b", "2 runs that have")):
        (tmp_path / name / "seed0").mkdir(parents=True)
        (tmp_path / name / "seed0" / "experiment.json").write_text("{}")
        assert main(["table", str(tmp_path)]) == 0
        assert f"Left out: {words} not ended." in capsys.readouterr().err
    # What was imported, quantized or merged never gets a result.
    given = tmp_path / "given" / "seed0"
    (given / "checkpoints" / "0").mkdir(parents=True)
    (given / "experiment.json").write_text("{}")
    assert main(["table", str(tmp_path)]) == 0
    assert "Left out: 2 runs" in capsys.readouterr().err


def test_a_result_that_cannot_be_read_hides_no_other(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 4.0)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "result.json").write_text('{"corpus": ')
    assert main(["table", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "  lstm " in said.out
    assert "cut/result.json is damaged" in said.err


def test_a_run_without_a_best_step_says_why_it_has_no_figure(tmp_path, capsys):
    both = [entry({"loss": 4.0}), entry({"loss": 3.0}, step=40)]
    write(tmp_path, "lstm", "base", 0, 4.0, scores=both)
    assert "no best step" not in shown(capsys, tmp_path)
    write(tmp_path, "lstm", "more", 0, 4.0, scores=both[:1], best=None)
    assert "-, at the best step: no best step of the run is known." in shown(
        capsys, tmp_path
    )


def test_the_result_of_a_shorter_budget_is_no_end(tmp_path, capsys):
    for seed in (0, 1):
        write(tmp_path, "lstm", "base", seed, 4.0 + seed)
    mark_longer(tmp_path / "lstm" / "base" / "seed1", "90 steps")
    assert main(["table", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert " 2.000     1 " in said.out
    assert "base/seed1 has not ended: its budget is '90 steps' now" in said.err


def test_links_to_runs_elsewhere_are_followed_once(tmp_path, capsys):
    write(tmp_path / "disk", "lstm", "base", 0, 4.0)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "lstm").symlink_to(tmp_path / "disk" / "lstm")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs")
    assert names_of(tmp_path / "runs") == {"ptb": {"lstm": 1}}


def test_the_results_of_this_directory_and_the_published(tmp_path, monkeypatch, capsys):
    write(tmp_path / "runs", "mine", "base", 0, 4.0)
    monkeypatch.chdir(tmp_path)
    said = shown(capsys)
    assert "  mine " in said and "gpt_shakespeare" not in said
    said = shown(capsys, "--published")
    assert "gpt_shakespeare" in said and "  mine " not in said
    assert "give one of the two" in refused(capsys, "other", "--published")


def test_in_the_committed_results_best_and_last_stand_apart(capsys):
    said = shown(capsys, "--published", "--measure", "test perplexity")
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line}
    assert rows["transformer_ptb"][1:4] == ["-", "108.52", "-"]
    assert rows["lstm_ptb_zaremba"][1:4] == ["114.5", "114.94", "114.87"]


def test_scores_by_other_code_are_marked(tmp_path, capsys):
    then, now = {"sources": "then"}, {"sources": "now"}
    for name, trained, scored in (
        ("same", [then], then),
        ("scored", [then], now),
        ("trained", [then, now], now),
        ("unknown", [], now),
    ):
        scores = [entry({"loss": 4.0}, code=scored)]
        write_result(tmp_path / name, 4.0, scores=scores, trained_with=trained)
    said = shown(capsys, tmp_path)
    marked = {line.split()[0] for line in said.splitlines() if "4.000*" in line}
    assert marked == {"scored", "trained"}
    assert "versions of the code" in said
    path = tmp_path / "same" / "result.json"
    result = json.loads(path.read_text())
    again = entry({"loss": 5.0}, code=now)
    path.write_text(json.dumps(result | {"scores": [*result["scores"], again]}))
    assert "5.000*" in shown(capsys, tmp_path)


def test_numbers_that_are_none_are_shown_last(tmp_path, capsys):
    for variant, loss in (("a", math.nan), ("b", math.inf), ("c", 2.0)):
        write(tmp_path, "x", variant, 0, loss)
    write(tmp_path, "x", "c", 1, math.inf)
    rows = table(capsys, tmp_path, "--measure", "validation loss")
    assert {row[0]: row[1] for row in rows[2:]} == {
        "x:a": "nan",
        "x:b": "inf",
        "x:c": "inf",
    }


def seeds(tmp_path, **variants):
    for variant, losses in variants.items():
        for seed, loss in losses.items():
            write(tmp_path, "lstm", variant, seed, loss)


def test_differences_are_taken_seed_by_seed(tmp_path, capsys):
    seeds(
        tmp_path,
        base={0: 4.0, 1: 5.0, 2: 6.0},
        tied={0: 3.9, 1: 4.8, 2: 5.7},
        one={2: 1.0},
        far={1: 1.0, 2: 1.5, 7: 100.0},
    )
    write(tmp_path, "gpt", "base", 0, 1.0)
    write(tmp_path, "gpt", "base", 1, 1.0)
    rows = rows_below(tmp_path)["ptb"]
    found = differences(rows, ("validation", "loss"), POLICY)
    by_name = {each.row.name: each for each in found}
    assert set(by_name) == {"lstm:tied", "lstm:far"}
    tied, far = by_name["lstm:tied"], by_name["lstm:far"]
    assert tied.mean == pytest.approx(-0.2) and tied.seeds == 3
    assert tied.deviation == pytest.approx(0.1)
    # The table of Student's t has 4.303 for two degrees of freedom.
    assert tied.interval == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    assert (far.mean, far.seeds) == (pytest.approx(-4.25), 2)
    said = shown(capsys, tmp_path, "--measure", "validation loss")
    said = " ".join(said.split())
    assert "minus lstm, paired by seed, at the last step:" in said
    assert "lstm:tied -0.200 ± 0.100, 95% interval of the mean -0.448 to +0.048" in said


@pytest.mark.parametrize(
    "odd",
    [{"recipe": "another"}, {"text": "another"}, {"scores": []}, {"loss": math.inf}],
)
@pytest.mark.parametrize("variant", ["base", "tied"])
def test_one_odd_seed_leaves_the_others_paired(tmp_path, capsys, variant, odd):
    same = {"recipe": "r", "text": "t"}
    for seed in range(3):
        write(tmp_path, "lstm", "base", seed, 4.0 + seed, **same)
        write(tmp_path, "lstm", "tied", seed, 3.9 + seed + seed**2 / 100, **same)
    write(tmp_path, "lstm", variant, 3, **{"loss": 0.1} | same | odd)
    said = shown(capsys, tmp_path, "--measure", "validation loss")
    said = " ".join(said.split())
    assert "paired by seed" in said and "lstm:tied" in said
    alone = "recipe" in odd or "text" in odd
    pairs = {"base": "3 seeds, of 3 and 4", "tied": "3 seeds, of 4 and 3"}[variant]
    pairs = "3 seeds" if alone else pairs
    assert (
        f"-0.083 ± 0.021, 95% interval of the mean -0.135 to -0.032 ({pairs})" in said
    )


def test_a_row_without_best_scores_is_paired_at_the_last(tmp_path, capsys):
    for seed in range(3):
        best, end = entry({"loss": 3.0 + seed}, step=40), entry({"loss": 4.0 + seed})
        for variant in ("base", "tied"):
            write(tmp_path, "lstm", variant, seed, 0.0, scores=[best, end])
        write(tmp_path, "lstm", "old", seed, 0.0, scores=[end])
    said = shown(capsys, tmp_path, "--measure", "validation loss")
    assert "minus lstm, paired by seed, at the best step:\n    lstm:tied" in said
    assert "minus lstm, paired by seed, at the last step:\n    lstm:old" in said


def test_what_was_scored_otherwise_is_not_paired(tmp_path, capsys):
    seeds(tmp_path, base={0: 4.0, 1: 5.0})
    for seed in (0, 1):
        other = [entry({"loss": 3.0}, policy="windows of 9")]
        write(tmp_path, "lstm", "long", seed, 3.0, scores=other, policy="windows of 9")
    assert "paired by seed" not in shown(capsys, tmp_path)


def test_csv_has_the_seed_of_a_run_that_lies_elsewhere(tmp_path, capsys):
    for name, text in (("a", '{"experiment": {"seed": 7}}'), ("b", "{"), ("c", None)):
        write_result(tmp_path / name, 4.0)
        if text:
            (tmp_path / name / "experiment.json").write_text(text)
    assert main(["table", str(tmp_path), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = {row["experiment"]: row["seed"] for row in rows}
    assert found == {"a": "7", "b": "", "c": ""}


def test_csv_has_all_digits_of_each_run(tmp_path, capsys):
    losses = {0: 4.1000000000000005, 1: 1 / 3}
    best = entry({"loss": 0.1 + 0.2}, step=40)
    seeds(tmp_path, base=losses)
    scores = [entry({"loss": 9.0}), best]
    write(tmp_path, "lstm", "a, b", 0, 9.0, FIGURE, scores=scores)
    assert main(["table", str(tmp_path), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 3
    found = {(row["experiment"], row["seed"]): row for row in rows}
    for seed, loss in losses.items():
        row = found["lstm", str(seed)]
        assert float(row["last"]) == loss and row["best"] == ""
    row = found["lstm:a, b", "0"]
    assert float(row["best"]) == 0.1 + 0.2 and row["best_step"] == "40"
    assert (row["published"], row["seen_before_each"]) == ("4", POLICY)
    assert (row["corpus"], row["split"], row["score"]) == ("ptb", "validation", "loss")


def test_markdown_has_a_cell_for_each_head(tmp_path, capsys):
    seeds(tmp_path, base={0: 4.1, 1: 4.3}, **{"a|b": {0: 3.0}})
    assert main(["table", str(tmp_path), "--markdown"]) == 0
    title, _, head, rule, *rows = capsys.readouterr().out.splitlines()
    assert title == "**ptb, validation bits per byte**"
    cells = [line.replace("\\|", "").count("|") for line in (head, rule, *rows)]
    assert len(set(cells)) == 1 and len(rows) == 2
    assert "| 2.100 ± 0.071 | 2 |" in rows[1]
    assert "one of" in refused(capsys, tmp_path, "--markdown", "--csv")


values = st.floats(1e-6, 1e6)


@settings(max_examples=100)
@given(st.lists(st.lists(values, min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_column_has_one_number_of_decimals_and_shows_its_spreads(rows):
    spreads = [statistics.stdev(row) for row in rows if len(row) > 1]
    places = decimals([statistics.fmean(row) for row in rows], spreads)
    written = [figure(statistics.fmean(row), places) for row in rows]
    assert len({len(text.partition(".")[2]) for text in written}) == 1
    least = min((s for s in spreads if s > 1e-6), default=None)
    if least and min(s for s in spreads if s) == least:
        assert float(figure(least, places)) > 0


@settings(max_examples=30)
@given(
    names=st.lists(
        st.text("ab:-_唐é", min_size=1, max_size=100), min_size=1, max_size=4
    ),
    width=st.integers(60, 120),
)
def test_lines_fit_any_screen(names, width, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for index in range(len(names)):
        write_result(folder / f"{index}", 10.0 ** (3 * index))
    rows = rows_below(folder)["ptb"]
    named = [type(row)(name, row.runs) for row, name in zip(rows, names, strict=True)]
    said = list(lines("ptb", named, ("validation", "loss"), width))
    assert max(map(cell_len, said)) <= width
    ends = {cell_len(line) for line in said if line.endswith("13m")}
    assert len(ends) == 1


def test_numbers_are_short():
    numbers = (12, 2_317_229, 929_589, 1e6, 999_999, 1.2e9)
    short_ones = ["12", "2.32M", "930k", "1.00M", "1.00M", "1.20B"]
    assert [short(n) for n in numbers] == short_ones
    times = [duration(s) for s in (4.25, 9.97, 79.1, 754, 9000, 1e6)]
    assert times == ["4.2s", "10s", "79s", "13m", "2.5h", "12d"]
    assert [size(n) for n in (12, 1500, 3.21e9)] == ["12 B", "1.50 kB", "3.21 GB"]
    both = itertools.pairwise(duration(10**k) for k in range(9))
    assert all(a != b for a, b in both)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loss", "Did you mean 'validation loss'"),
        ("bits per byte", "Did you mean 'validation bits_per_byte'"),
        ("test los", "Did you mean 'test loss'"),
    ],
)
def test_a_measure_without_a_split_is_of_the_validation(text, words):
    splits, scores = ("test", "validation"), ("bits_per_byte", "loss")
    with pytest.raises(UserError, match=words):
        as_measure(text, [(split, score) for split in splits for score in scores])
