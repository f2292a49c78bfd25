"""The page loads nothing from elsewhere, makes no markup of texts, and works."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import lm_jax.serving
from tests.serving.test_server import asked

PAGE = Path(lm_jax.serving.__file__).parent / "page"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


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


def test_the_page_is_served_under_a_strict_policy(served):
    with served(key="secret") as (server, _):
        status, html = asked(server, "/")
        assert status == 200 and "<!doctype html>" in html
        for name in re.findall(r'(?:href|src)="([^"]+)"', html):
            assert asked(server, f"/{name}")[0] == 200
        assert asked(server, "/page.css")[1].count("prefers-color-scheme: dark") == 1
        assert asked(server, "/v1/models")[0] == asked(server, "/metrics")[0] == 401
        import http.client

        line = http.client.HTTPConnection(server.host, server.port, timeout=9)
        line.request("GET", "/")
        policy = line.getresponse().headers["Content-Security-Policy"]
        line.close()
        assert "default-src 'none'" in policy and "unsafe" not in policy


class Chromium:
    """A headless browser, spoken to over two pipes in its DevTools protocol."""

    def __init__(self, folder):
        to_it, from_it = os.pipe(), os.pipe()
        self._number, self._left = 0, b""

        def place():
            os.dup2(to_it[0], 3)
            os.dup2(from_it[1], 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [BROWSER, *flags, "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it[0])
        os.close(from_it[1])
        self._in, self._out = to_it[1], from_it[0]
        targets = self.ask("Target.getTargets")["targetInfos"]
        (target,) = [t["targetId"] for t in targets if t["type"] == "page"][:1]
        attach = {"targetId": target, "flatten": True}
        self._session = self.ask("Target.attachToTarget", attach)["sessionId"]

    def ask(self, method, params=None, session=None):
        self._number += 1
        sent = {"id": self._number, "method": method, "params": params or {}}
        sent |= {"sessionId": session} if session else {}
        os.write(self._in, json.dumps(sent).encode() + b"\0")
        while True:
            message, mark, left = self._left.partition(b"\0")
            if not mark:
                self._left += os.read(self._out, 65536)
                continue
            self._left, told = left, json.loads(message)
            if told.get("id") == self._number:
                assert "result" in told, told
                return told["result"]

    def open(self, address):
        self.ask("Page.navigate", {"url": address}, self._session)
        self.until("document.readyState === 'complete'")

    def do(self, script):
        asked = {"expression": script, "returnByValue": True}
        return self.ask("Runtime.evaluate", asked, self._session)["result"].get("value")

    def until(self, script):
        end = time.monotonic() + 20
        while not self.do(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def close(self):
        self._process.terminate()
        self._process.wait(10)
        os.close(self._in)
        os.close(self._out)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_a_browser_writes_and_shows_probabilities(served, opened, tmp_path):
    browser = Chromium(tmp_path)
    try:
        with served() as (server, _):
            browser.open(server.address)
            browser.until(f"at('model').textContent === {json.dumps(opened.name)}")
            browser.do("at('prompt').value = 'the cat'; at('temperature').value = 0")
            browser.do("at('max_tokens').value = 12; at('ask').requestSubmit()")
            browser.until("at('state').textContent === 'ended: length'")
            (text,) = opened.fitted.generate("the cat", 12, temperature=0.0)
            assert browser.do("at('text').textContent") == text[len("the cat") :]
            browser.do("document.querySelector('.t').click()")
            assert browser.do("at('likely').rows.length") == 8
            assert "%" in browser.do("at('which').textContent")
            browser.do("at('prompt').value = 'é<b>'; at('ask').requestSubmit()")
            browser.until("at('state').textContent.includes('é')")
            assert browser.do("document.querySelectorAll('b').length") == 0
    finally:
        browser.close()
