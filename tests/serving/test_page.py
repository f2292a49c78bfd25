"""The page loads nothing from elsewhere, makes no markup of texts, and works."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lm_jax.serving
from lm_jax.serving.drawing import Scores
from lm_jax.serving.programs import Step, empty_rows
from lm_jax.tokenizers import Bytes
from tests.browser import SCHEMES, WIDTHS, chromium, watched, wider_than_its_window
from tests.serving.test_engine import Slow, until
from tests.serving.test_server import asked

PAGE = Path(lm_jax.serving.__file__).parent / "page"


def test_the_page_makes_no_markup_and_loads_nothing_from_elsewhere():
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert way not in script
    for text in (script, html, (PAGE / "page.css").read_text(encoding="utf-8")):
        assert not re.search(r"https?:|//\w|@import|url\(", text.replace("// ", ""))
    assert not re.search(r"\son\w+=|<style|style=", html)
    assert set(re.findall(r'at\("(\w+)"\)', script)) <= set(
        re.findall(r'id="(\w+)"', html)
    )


@pytest.mark.slow
def test_the_page_is_served_under_a_strict_policy(served):
    with served(key="secret") as (server, _):
        status, html = asked(server, "/")
        assert status == 200 and "<!doctype html>" in html
        for name in re.findall(r'(?:href|src)="(\w[^":]+)"', html):
            assert asked(server, f"/{name}")[0] == 200
        assert asked(server, "/page.css")[1].count("prefers-color-scheme: dark") == 1
        assert asked(server, "/v1/models")[0] == asked(server, "/metrics")[0] == 401
        import http.client

        line = http.client.HTTPConnection(server.host, server.port, timeout=9)
        line.request("GET", "/")
        policy = line.getresponse().headers["Content-Security-Policy"]
        line.close()
        assert "default-src 'none'" in policy and "unsafe" not in policy


class Scripted:
    """A model that writes a text, whatever it is asked."""

    slots, window, piece = 1, None, 64

    def __init__(self, tokenizer, text):
        self.vocab_size = tokenizer.vocab_size
        self._ids = [*tokenizer.encode(text), tokenizer.end_id]

    def empty_rows(self):
        return empty_rows(1, 8, self.vocab_size)

    def read(self, slot, ids, position):
        pass

    def step(self, rows):
        token = np.array([self._ids[rows.drawings.drawn[0]]])
        others = np.arange(20)[None], -np.arange(20.0)[None] - 1
        return Step(token, np.array([True]), Scores(np.array([-0.5]), *others))


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def write(tab, prompt):
    tab.fill("#prompt", prompt)
    tab.click("#go")


def shows(tab, selector, text):
    """Wait until an element has a text."""
    from playwright.sync_api import expect

    expect(tab.locator(selector)).to_have_text(text, timeout=30_000)


@pytest.mark.slow
def test_what_is_asked_on_the_page_is_written(served, opened, browser):
    with (
        served() as (server, _),
        watched(browser) as (tab, asked, complaints),
    ):
        bodies = []
        tab.on("request", lambda sent: bodies.append(sent.post_data))
        tab.goto(server.address)
        shows(tab, "#model", opened.name)
        assert not tab.is_visible("#key") and not tab.is_visible("#typical")
        tab.focus("#temperature")
        tab.keyboard.press("Home")
        shows(tab, "output[for=temperature]", "0")
        tab.fill("#max_tokens", "12")
        write(tab, "the cat")
        shows(tab, "#state", "ended: length")
        (plain,) = opened.fitted.generate("the cat", 12, temperature=0.0)
        assert tab.text_content("#text") == plain.removeprefix("the cat")
        tab.click("summary")
        tab.fill("#repetition_penalty", "1.8")
        tab.fill("#no_repeat_ngram", "2")
        write(tab, "the cat")
        tab.keyboard.press("Tab")
        shows(tab, "#state", "ended: length")
        settings = {"repetition_penalty": 1.8, "no_repeat_ngram": 2}
        (other,) = opened.fitted.generate("the cat", 12, temperature=0.0, **settings)
        assert tab.text_content("#text") == other.removeprefix("the cat") != plain
        sent = json.loads(bodies[-1])
        assert sent.items() >= (settings | {"temperature": 0, "top_p": 1}).items()
        assert all(address.startswith(server.address) for address in asked)
        assert not complaints


@pytest.mark.slow
def test_a_token_that_is_pointed_at_tells_what_was_likelier(served, opened, browser):
    with (
        served() as (server, _),
        watched(browser) as (tab, _, complaints),
    ):
        tab.goto(server.address)
        tab.fill("#seed", "3")
        write(tab, "the cat")
        shows(tab, "#state", "ended: length")
        token = tab.locator(".t").nth(4)
        token.hover()
        assert tab.locator("#likely tr").count() == 8
        assert f"“{token.text_content()}”".replace(" ", "␣") in (
            tab.text_content("#which")
        )
        shares = [
            float(text.rstrip(" %")) for text in tab.locator("td.n").all_inner_texts()
        ]
        assert shares == sorted(shares, reverse=True) and 50 < sum(shares) < 100.5
        bars = tab.locator(".strip i").evaluate_all(
            "bars => bars.map(b => b.clientWidth)"
        )
        assert bars[0] > bars[-1]
        assert tab.locator(".chosen").count() == 1 and not complaints


STRANGE = "<img src=x onerror=alert(1)>\n<b>春眠不覺曉</b> 🙂👩‍👩‍👧 é &amp;"


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_whatever_is_written_is_text_on_any_screen(
    served, opened, browser, width, scheme
):
    tokenizer = Bytes().train([], end=True)
    of = replace(opened, fitted=replace(opened.fitted, tokenizer=tokenizer))
    with (
        served(model=Scripted(tokenizer, STRANGE), of=of) as (server, _),
        watched(browser, width, scheme) as (tab, asked, complaints),
    ):
        tab.goto(server.address)
        tab.fill("#max_tokens", "200")
        write(tab, STRANGE)
        shows(tab, "#state", "ended: stop")
        assert tab.text_content("#text") == STRANGE
        tab.locator(".t", has_text="<").first.click()
        tab.locator(".t", has_text="🙂").click()
        assert "🙂" in tab.text_content("#which")
        assert tab.locator("img, #text b").count() == 0
        assert not wider_than_its_window(tab)
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")
        assert all(address.startswith(server.address) for address in asked)
        assert not complaints


@pytest.mark.slow
def test_stop_frees_the_slot_and_the_page_goes_on(served, single, browser):
    slow = Slow(single)
    with (
        served(model=slow) as (server, engine),
        watched(browser) as (tab, _, _),
    ):
        tab.goto(server.address)
        tab.fill("#max_tokens", "60")
        write(tab, "the")
        tab.locator(".t").nth(2).wait_for()
        assert tab.is_disabled("#go") and engine.running == 1
        tab.click("#stop")
        shows(tab, "#state", "stopped")
        until(lambda: not engine.running)
        assert engine.counts.answered == 0 and slow.steps < 60
        assert 3 <= len(tab.text_content("#text")) < 60
        tab.fill("#max_tokens", "5")
        write(tab, "the")
        shows(tab, "#state", "ended: length")
        assert len(tab.text_content("#text")) == 5


@pytest.mark.slow
def test_a_refusal_a_key_and_a_server_that_is_gone_are_told(served, browser):
    with watched(browser) as (tab, _, _):
        with served(key="secret") as (server, _):
            tab.goto(server.address)
            write(tab, "the")
            shows(tab, "#state", re.compile("key is missing"))
            tab.fill("#key", "secret")
            write(tab, "é<b>")
            shows(tab, "#state", re.compile("'é'"))
            write(tab, "the")
            shows(tab, "#state", "ended: length")
        write(tab, "the")
        shows(tab, "#state", "The server does not answer.")
