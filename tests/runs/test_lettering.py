"""Any name can stand in a picture."""

import io
import warnings

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.figure import Figure

from lm_jax.runs import lettering
from lm_jax.runs.lettering import in_legend, letter
from lm_jax.runs.metrics import MetricsLog
from lm_jax.runs.picture import Reference, draw_run


def lettered(words: str) -> str:
    """Draw words at every place of a picture, without a warning; how they stand."""
    figure = Figure(figsize=(1, 1), dpi=10)
    axes = figure.subplots()
    axes.plot([1, 2], label=in_legend(words))
    axes.set_title(words)
    axes.set_xlabel(words)
    axes.annotate(words, (1, 1))
    axes.legend()
    letter(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")
    shown = {axes.get_title(), axes.get_xlabel(), axes.texts[0].get_text()}
    (entry,) = axes.get_legend().get_texts()
    (one,) = shown | {entry.get_text().removeprefix(" " * words.startswith("_"))}
    return one


@pytest.mark.parametrize(
    "words", ["x$_$y", "$\\frac$", "a_b^c", "_a", "100%", "a\nb", "é"]
)
def test_what_the_font_has_is_shown_as_it_is(words):
    assert lettered(words) == words


def test_what_no_font_has_is_an_escape(monkeypatch):
    monkeypatch.setattr(lettering, "_other_fonts", lambda: [])
    assert lettered("长 runs 恨") == "\\u957f runs \\u6068"
    assert lettered("tab\there") == "tab\\there"


def test_what_another_font_has_is_drawn_in_it(monkeypatch, tmp_path):
    """A letter that the usual font lacks and STIX has."""
    words, figure = "Ⓐ runs", Figure()
    text = figure.text(0, 0, words)
    letter(figure)
    assert text.get_text() == words
    assert text.get_fontfamily()[0] == "sans-serif"
    assert len(text.get_fontfamily()) == 2
    assert lettered(words) == words


def test_a_font_that_cannot_be_read_is_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setattr(
        lettering, "_other_fonts", lambda: [("Broken", str(broken)), ("Gone", "gone")]
    )
    assert lettered("春") == "\\u6625"


@settings(max_examples=10)
@given(words=st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=8))
def test_any_text_is_drawn_without_a_warning(words):
    lettered(words)


def test_a_style_of_the_users_own_makes_no_formulas():
    with matplotlib.rc_context({"text.usetex": True}):
        figure = Figure()
        text = figure.text(0, 0, "a_b")
        letter(figure)
    assert not text.get_usetex()


@pytest.mark.parametrize("name", ["x$_$y", "长恨歌"])
def test_a_run_of_any_name_has_its_picture(tmp_path, name):
    run = tmp_path / name / name
    run.mkdir(parents=True)
    log = MetricsLog(run / "metrics.jsonl")
    log.write(1, {"loss": 2.0})
    log.write(2, {"validation_loss": 1.5})
    log.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_run(run, run / "curve.png", Reference(f"paper of {name}", "loss", 1.0))
    assert (run / "curve.png").stat().st_size > 1000


def test_a_font_of_chinese_is_taken_where_there_is_one(tmp_path):
    """The first of the machine's fonts that has the character, if any has."""
    fonts = [
        font.name
        for font in font_manager.fontManager.ttflist
        if not any(words in font.name for words in lettering._NO_LETTERS)
        and "春" in lettering._characters_in(font.fname)
    ]
    if not fonts:
        pytest.skip("this machine has no font with Chinese")
    assert lettered("春") == "春"
