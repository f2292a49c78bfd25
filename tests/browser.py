"""A headless Chromium, and what a page asks for and complains of in it."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS, SCHEMES = (1280, 400), ("light", "dark")


@contextmanager
def chromium():
    """Start it; a test is skipped, and says so, where there is none."""
    reason = "needs playwright"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    with playwright.sync_playwright() as started:
        found = [*map(shutil.which, NAMES), started.chromium.executable_path]
        path = next((each for each in found if each and Path(each).exists()), None)
        if path is None:
            pytest.skip("there is no Chromium on this machine")
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = started.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@contextmanager
def watched(browser, width=1280, scheme="light"):
    """Open a tab: give it, the addresses that it asks for, and its complaints."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    tab, asked, complaints = context.new_page(), [], []

    def failed(sent):
        if sent.failure != "net::ERR_ABORTED":  # what a page lets go of itself
            complaints.append(f"{sent.url}: {sent.failure}")

    tab.on("request", lambda request: asked.append(request.url))
    tab.on("requestfailed", failed)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "console",
        lambda said: complaints.append(said.text) if said.type != "log" else None,
    )
    try:
        yield tab, asked, complaints
    finally:
        context.close()


def wider_than_its_window(tab):
    """Whether a page has to be moved sideways."""
    return tab.evaluate("document.documentElement.scrollWidth > innerWidth")
