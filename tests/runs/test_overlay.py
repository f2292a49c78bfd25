"""One picture of many runs."""

import json

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from lm_jax.__main__ import main
from lm_jax.runs.metrics import MetricsLog
from tests.runs.test_table import write, write_result


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    figures, save = [], Figure.savefig

    def keep(figure, *arguments, **named):
        figures.append(figure)
        return save(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def log(run, losses):
    metrics = MetricsLog(run / "metrics.jsonl")
    for step, loss in losses.items():
        metrics.write(step, {"validation_loss": loss, "validation_accuracy": 1 / loss})
    metrics.close()


def test_variants_lie_over_each_other_and_seeds_have_their_mean(
    tmp_path, drawn, capsys
):
    for seed, losses in enumerate(({1: 4.0, 2: 3.0}, {1: 5.0, 2: 4.0, 3: 1.0})):
        write(tmp_path, "lstm", "base", seed, 3.0)
        log(tmp_path / "lstm" / "base" / f"seed{seed}", losses)
    write(tmp_path, "lstm", "tied", 0, 3.0)
    log(tmp_path / "lstm" / "tied" / "seed0", {1: 3.5, 2: 2.5})
    write(tmp_path, "ngram", "base", 0, 7.0)
    out = tmp_path / "all.png"
    asked = ["--measure", "validation loss", "--plot", str(out)]
    assert main(["table", str(tmp_path), *asked]) == 0
    said = capsys.readouterr()
    assert "lstm:tied" in said.out and "all.png" in said.err
    assert image.imread(out).shape[1] > 600
    (axes,) = drawn[0].axes
    named = {
        line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"
    }
    assert set(named) == {"lstm (2 seeds)", "lstm:tied", "ngram"}
    assert list(named["lstm (2 seeds)"].get_ydata()) == [4.5, 3.5]
    assert list(named["lstm:tied"].get_ydata()) == [3.5, 2.5]
    assert set(named["ngram"].get_ydata()) == {7.0}
    assert len({line.get_color() for line in named.values()}) == 3
    assert axes.get_ylabel() == "validation loss"


def test_curves_run_along_the_seconds_of_their_steps(tmp_path, drawn, capsys):
    """Half a second a step in one row, two in the other; seeds have a mean pace."""
    for variant, paces in (("base", (0.25, 0.75)), ("deep", (2.0,))):
        for seed, pace in enumerate(paces):
            write(tmp_path, "gpt", variant, seed, 3.0)
            run = tmp_path / "gpt" / variant / f"seed{seed}"
            path = run / "result.json"
            result = json.loads(path.read_text())
            took = {"step": pace * result["steps"], "evaluation": 100.0}
            path.write_text(json.dumps(result | {"seconds_by_phase": took}))
            log(run, {10: 4.0, 20: 3.0})
    asked = ["table", str(tmp_path), "--measure", "validation loss"]
    plot = ["--plot", str(tmp_path / "all.png"), "--along", "seconds"]
    assert main([*asked, *plot]) == 0
    (axes,) = drawn[0].axes
    named = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert named["gpt (2 seeds)"] == [5.0, 10.0]
    assert named["gpt:deep"] == [20.0, 40.0]
    assert axes.get_xlabel() == "seconds of training steps"
    path.write_text(json.dumps(result))
    assert main([*asked, *plot]) == 2
    assert "doesn't say how long its steps took" in told(capsys)
    assert main([*asked, "--along", "seconds"]) == 2
    assert "--plot FILE" in told(capsys)


def told(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_each_corpus_has_a_panel_and_the_csv_stays_clean(tmp_path, drawn, capsys):
    for corpus in ("ptb", "text8"):
        scores = [
            {
                "evaluation": "likelihood",
                "corpus": corpus,
                "policy": "windows of 8",
                "split": "validation",
                "step": 50,
                "scores": {"accuracy": 0.5},
            }
        ]
        write_result(tmp_path / corpus, 3.0, corpus=corpus, scores=scores)
        log(tmp_path / corpus, {1: 2.0, 2: 1.0})
    out = tmp_path / "all.png"
    assert main(["table", str(tmp_path), "--csv", "--plot", str(out)]) == 0
    assert capsys.readouterr().out.startswith("corpus,text,split,score")
    assert [axes.get_title() for axes in drawn[0].axes] == ["ptb", "text8"]
    assert {axes.get_ylabel() for axes in drawn[0].axes} == {"validation accuracy"}


def test_without_any_curve_nothing_is_drawn(tmp_path, capsys):
    write(tmp_path, "ngram", "base", 0, 7.0)
    out = tmp_path / "all.png"
    assert main(["table", str(tmp_path), "--plot", str(out)]) == 2
    assert "has a curve to draw" in capsys.readouterr().err
    assert not out.exists()


def test_more_variants_than_colours_are_told_apart(tmp_path, drawn):
    for index in range(16):
        write(tmp_path, "lstm", f"v{index:02}", 0, 3.0)
        log(tmp_path / "lstm" / f"v{index:02}" / "seed0", {1: 4.0, 2: 3.0})
    asked = ["--measure", "validation loss", "--plot", str(tmp_path / "all.png")]
    assert main(["table", str(tmp_path), *asked]) == 0
    (axes,) = drawn[0].axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 16
    assert json.loads((tmp_path / "lstm/v00/seed0/result.json").read_text())


def test_a_picture_is_png(tmp_path, capsys):
    write(tmp_path, "lstm", "base", 0, 3.0)
    log(tmp_path / "lstm" / "base" / "seed0", {1: 3.5})
    asked = ["--measure", "validation loss", "--plot", str(tmp_path / "all.jpg")]
    assert main(["table", str(tmp_path), *asked]) == 2
    assert "all.png" in capsys.readouterr().err
    assert not (tmp_path / "all.jpg").exists()


def test_no_name_is_left_out_of_the_legend(tmp_path, drawn):
    for name in ("_own", "__", "usual"):
        write(tmp_path, name, "base", 0, 3.0)
        log(tmp_path / name / "base" / "seed0", {1: 3.5, 2: 2.5})
    asked = ["--measure", "validation loss", "--plot", str(tmp_path / "all.png")]
    assert main(["table", str(tmp_path), *asked]) == 0
    shown = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert sorted(map(str.strip, shown)) == ["__", "_own", "usual"]
