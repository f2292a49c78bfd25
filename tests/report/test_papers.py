"""Tables for a paper have the report's figures, and their special characters."""

import csv
import io
from pathlib import Path

import pytest

from lm_jax.ablation import PublishedEffect, Study
from lm_jax.report.gathering import gather
from lm_jax.report.papers import escaped, latex, markdown, values
from lm_jax.statistics import words
from tests.report.made import made, tiny


def found():
    return gather([Path("runs/tiny")])


def test_values_have_all_digits_and_a_column_for_each_seed():
    made(study=Study(published={"wide": PublishedEffect(0.2, "Su, 2021")}))
    report = found().reports[0]
    base, wide = csv.DictReader(io.StringIO(values(found())))
    known = report.comparisons["wide"]
    assert float(wide["difference"]) == known.mean and float(wide["p_t"]) == known.t
    assert float(wide["low"]) == known.mean - known.interval
    assert float(wide["high"]) == known.mean + known.interval
    assert [float(wide[f"seed{k}"]) for k in range(5)] == [
        *report.scores["wide"].values()
    ]
    assert (base["difference"], base["verdict"]) == ("", "reference")
    assert (wide["published"], wide["source"]) == ("0.2", "Su, 2021")
    assert wide["agreement"] == "direction agrees, ours is smaller"


def test_a_missing_seed_is_an_empty_value():
    plan = made()
    (plan.cells[3].run / "result.json").unlink()
    _, wide = csv.DictReader(io.StringIO(values(found())))
    assert wide["seed1"] == "" and wide["seed2"] and wide["verdict"] == "no verdict"


def test_markdown_has_the_figures_and_what_differs():
    both = tiny()
    made({"base": both["base"], "a_b|c<i>": both["wide"]})
    text = markdown(found())
    report = found().reports[0]
    (cells,) = words.differences(report).values()
    assert f"| {cells.mean} | {cells.interval} |" in text
    assert "| a\\_b" in text and "| model.width | 16 | 32 |" in text
    assert "<i>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [line.replace("\\|", "").count("|") for line in rows]
    assert len(set(widths[:4])) == 1 and len(set(widths[4:])) == 1


def test_latex_sets_special_characters_and_figures():
    both = tiny()
    effect = PublishedEffect(-0.2, "Su & Lu_2021, 5%")
    name = "a_b"
    study = Study(published={name: effect})
    made({"base": both["base"], name: both["wide"]}, study)
    text = latex(found())
    assert "a\\_b & " in text and "(Su \\& Lu\\_2021, 5\\%)" in text
    report = found().reports[0]
    cells = words.differences(report)[name]
    low, high = cells.interval.split(" to ")
    assert f"${cells.mean}$ & ${low}$ to ${high}$ & $<0.0001$ & $0.0625$" in text
    rows = text.partition("\\toprule")[2].partition("\\bottomrule")[0].splitlines()
    rows = [row for row in rows if row.endswith("\\\\")]
    assert len({row.replace("\\&", "").count("&") for row in rows}) == 1
    assert text.count("{") == text.count("}") and "95\\% interval" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100% of a_b & #1", r"100\% of a\_b \& \#1"),
        ("\\x{$y^2~}", r"\textbackslash{}x\{\$y\textasciicircum{}2\textasciitilde{}\}"),
    ],
)
def test_latex_is_escaped(text, said):
    assert escaped(text) == said
