"""Pages in a browser: files that fetch nothing, complain of nothing, and show."""

from pathlib import Path

import pytest

from lm_jax.ablation import Study
from lm_jax.inspection.inspecting import inspect
from lm_jax.report.gathering import gather
from lm_jax.report.inspected_page import inspected_page
from lm_jax.report.page import page
from tests.browser import SCHEMES, WIDTHS, chromium, watched, wider_than_its_window
from tests.properties import slow_but
from tests.report.made import made
from tests.report.test_inspected import MODELS, TEXTS


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def shown(browser, text, width, scheme):
    """Open a page as a file: give the tab, once it is whole and found to be quiet."""
    file = Path("page.html").absolute()
    file.write_text(text)
    return file.as_uri(), watched(browser, width, scheme)


def quiet(tab, address, asked, complaints):
    """Whether the page asked for itself alone, complained of nothing, and fits."""
    outside = [one for one in asked if one != address and not one.startswith("data:")]
    return not outside and not complaints and not wider_than_its_window(tab)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", slow_but(SCHEMES, "dark"))
def test_a_report_shows_its_tables_and_curves(browser, width, scheme):
    made(study=Study(seeds=2))
    address, opened = shown(browser, page(gather([Path("runs/tiny")])), width, scheme)
    with opened as (tab, asked, complaints):
        tab.goto(address)
        assert quiet(tab, address, asked, complaints)
        cells = tab.locator("table").first.locator("tbody td")
        assert cells.count() > 5 and cells.last.is_visible()
        charts = tab.locator(".plot svg")
        lines = charts.first.locator("path.line")
        assert charts.first.is_visible() and lines.count() == 2
        boxes = [lines.nth(k).bounding_box() for k in range(2)]
        assert all(box["width"] > 100 for box in boxes)
        tab.locator("label[for=axis-FLOP]").click()
        narrower = lines.nth(1).bounding_box()["width"]
        assert narrower == pytest.approx(boxes[1]["width"] / 2, rel=0.05)
        assert quiet(tab, address, asked, complaints)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", MODELS)
def test_a_text_that_was_looked_at_tells_more_where_it_is_pointed_at(
    browser, name, width
):
    found = inspect(MODELS[name](), [TEXTS[name]], attention=True)
    address, opened = shown(browser, inspected_page(found, "a run"), width, "dark")
    with opened as (tab, asked, complaints):
        tab.goto(address)
        token = tab.locator(".t").nth(2)
        assert tab.locator(".more:visible").count() == 0
        token.hover()
        assert token.locator(".more").is_visible()
        assert tab.locator(".more:visible").count() == 1
        pictures = tab.locator("details[open] img")
        assert pictures.count() > 0
        sizes = pictures.evaluate_all("all => all.map(i => [i.naturalWidth, i.width])")
        assert all(own == len(found.symbols) and size > 50 for own, size in sizes)
        assert quiet(tab, address, asked, complaints)
