"""The page says what the report says, fetches nothing, and holds any text."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.ablation import PublishedEffect, Study
from lm_jax.report.charts import labels
from lm_jax.report.curves import curves
from lm_jax.report.gathering import gather
from lm_jax.report.page import page
from lm_jax.runs.metrics import append_sample
from lm_jax.statistics import words
from tests.report.made import begin, made, tiny

SIZES = tuple(range(24, 24 + 9 * 8, 8))  # widths


class Parsed(HTMLParser):
    """The tags of a page with their attributes, its words, and its paths."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.inside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.inside:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def shown(*paths):
    found = gather([Path(path) for path in paths])
    return found, Parsed(page(found))


def test_every_figure_and_sentence_of_the_report_is_there():
    effect = PublishedEffect(0.2, "Su et al. 2021, Table 2")
    made(study=Study(published={"wide": effect}))
    found, parsed = shown("runs/tiny")
    (report,) = found.reports
    for name, scores in words.scores(report).items():
        assert f"{name} {scores.mean} {scores.deviation} {' '.join(scores.points)}" in (
            parsed.text
        )
    cells = words.differences(report)["wide"]
    row = f"{cells.mean} {cells.interval} {cells.t} {cells.permutation} worse"
    assert f"{row} +0.2 direction agrees, ours is smaller" in parsed.text
    for sentence in words.sentences(report):
        assert sentence in parsed.text
    for said in ("model.width 16 32", "the cat 0", "seed 0, step 12", "2 x cpu"):
        assert said in parsed.text
    assert "an early one" not in parsed.text and "sweep tiny.py" in parsed.text


def test_what_is_missing_is_named():
    plan = made()
    (plan.cells[1].run / "result.json").unlink()
    shutil.rmtree(plan.cells[4].run)
    (plan.cells[2].run / "result.json").write_text("{")
    _, parsed = shown("runs/tiny")
    assert "No verdict: 3 of 10 runs don't count (wide seed 0: stopped; " in parsed.text
    assert "base seed 2: missing" in parsed.text
    assert "base seed 1, failed: runs/tiny/base/seed1/result.json is dam" in parsed.text
    assert "(stopped) 2.208 2.216" in parsed.text and "no verdict" in parsed.text


def test_nothing_outside_the_file_is_asked_for():
    made()
    text = page(gather([Path("runs/tiny")]))
    assert not re.search(r"https?://|src=|href=|url\(|@import|<script|<link", text)
    (policy,) = re.findall(r'content="(default-src[^"]*)"', text)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


HOSTILE = (
    "</pre></title><script>alert(1)</script> & 春眠不覺曉 שלום \u202eabc\x00\x1b[2J"
)


def test_any_text_is_text():
    effect = PublishedEffect(0.2, f"{HOSTILE}")
    both = tiny()
    name = '<script>"春'
    study = Study(seeds=2, published={name: effect})
    plan = made({"base": both["base"], name: both["wide"]}, study)
    append_sample(plan.cells[0].run / "samples.txt", 12, HOSTILE)
    text = page(gather([Path("runs/tiny")]))
    parsed = Parsed(text)
    assert not parsed.all("script") and len(parsed.all("title")) == 1
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    assert HOSTILE.split("\x00")[0] in parsed.text and name in parsed.text
    assert all(pre.get("dir") == "auto" for pre in parsed.all("pre")[:3])


@pytest.mark.slow
def test_a_page_of_long_runs_is_small():
    study = Study(seeds=5)
    made(study=study, steps=4000)
    size = len(page(gather([Path("runs/tiny")])).encode())
    assert 20_000 < size < 150_000


def test_the_drawn_line_is_the_mean_of_the_seeds():
    made()
    found, parsed = shown("runs/tiny")
    base = curves(found.variants, "validation_loss")[0].band
    lines = [p["d"] for p in parsed.all("path") if p["class"].startswith("line v0 ")]
    lines = [line for line in lines if "L" in line]  # and not the legend
    points = [
        [float(number) for number in pair.split(",")]
        for pair in lines[0].removeprefix("M").split("L")
    ]
    x, y = np.array(points).T
    np.testing.assert_allclose(x, base.steps * 4000 / 12, atol=0.5)
    # Downwards, and linear in the mean.
    slope, level = np.polyfit(base.mean, y, 1)
    assert slope < 0 and y.min() >= 0 and y.max() <= 4000
    np.testing.assert_allclose(slope * base.mean + level, y, atol=1.5)
    told = [svg["aria-label"] for svg in parsed.all("svg") if "aria-label" in svg]
    assert told[0].startswith("validation loss by step: base from 2.353 to 2.103; wide")


def test_the_axis_is_chosen_without_a_script():
    made()
    _, parsed = shown("runs/tiny")
    chosen = [box for box in parsed.all("input") if "checked" in box]
    assert [box["id"] for box in chosen] == ["axis-step"]
    text = page(gather([Path("runs/tiny")]))
    # The second variant does half the work in a step, on the same tokens.
    stretched = re.findall(
        r"#axis-(\w+):checked ~ main \.v(\d) .*?scaleX\((.*?)\)", text
    )
    assert stretched == [("FLOP", "1", "0.5000")]


def test_a_run_that_trains_is_a_line_of_its_own():
    plan = made()
    cell = replace(plan.cells[0], seed=9, run=Path("runs/more/base/seed9"))
    begin(cell, 6)
    found = gather([cell.run])
    (only,) = curves(found.variants, "loss")
    assert only.band is None and len(only.others) == 1 and found.axes == ["step"]
    assert "haven't ended" in Parsed(page(found)).text


def test_a_run_that_has_measured_nothing_has_a_page():
    plan = made()
    run = plan.cells[0].run
    for name in ("metrics.jsonl", "samples.txt", "environment.json", "result.json"):
        (run / name).unlink()
    assert "have not ended: " in Parsed(page(gather([run]))).text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.0, 0.0025, 0.005], ["0", "0.0025", "0.005"]),
        ([2.0, 2.25, 2.5], ["2", "2.25", "2.5"]),
        ([-1e6, 0.0, 1e6], ["-1e+06", "0", "1e+06"]),
    ],
)
def test_ticks_have_the_digits_that_they_need(values, said):
    assert labels(values) == said


def test_many_without_a_verdict_are_told_in_a_sentence(capsys):
    base = tiny()["base"]
    widths = {f"w{k}": replace(base, model=base.model.clone(width=k)) for k in SIZES}
    for names, told in ((SIZES[:2], "w24 against base"), (SIZES, "All 9 against base")):
        plan = {"base": base} | {f"w{k}": widths[f"w{k}"] for k in names}
        made(plan, Study(seeds=2), f"runs/of{len(names)}")
        capsys.readouterr()
        assert main(["report", f"runs/of{len(names)}"]) == 0
        said = capsys.readouterr().out
        assert f"{told}: too few seeds." in said
        assert said.count("too few seeds") == (2 if len(names) == 2 else 1)
    made(plan, Study(seeds=5), "runs/judged")
    assert main(["report", "runs/judged"]) == 0
    assert capsys.readouterr().out.count(" against base: worse.") == 9


def test_the_command_writes_what_the_ending_says(capsys):
    made()
    assert main(["report", "runs/tiny"]) == 0
    assert Path("runs/tiny/report.html").read_text().startswith("<!doctype html>")
    said = capsys.readouterr().out
    assert "wide against base: worse." in said
    assert "The report is in runs/tiny/report.html." in said
    before = sorted(Path("runs").rglob("*"))
    for ending in (".md", ".tex", ".csv", ".HTML"):
        assert main(["report", "runs/tiny", "--out", f"a{ending}"]) == 0
    assert "\\toprule" in Path("a.tex").read_text() and Path("a.HTML").exists()
    assert sorted(Path("runs").rglob("*")) == before
    assert main(["report", "runs/tiny", "--out", "a.pdf"]) == 2
    assert "the ending says" in capsys.readouterr().err
    assert main(["report"]) == 2 and "give RUNS" in capsys.readouterr().err
