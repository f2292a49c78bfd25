"""A page that is served while its runs train: on this machine alone, and nothing else.

The page asks whether it has changed, and loads itself again if it has.
"""

import os
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from lm_jax.errors import UserError
from lm_jax.report.elements import element, markup
from lm_jax.report.gathering import gather
from lm_jax.report.page import page
from lm_jax.runs.directory import folders_with

LOOPBACK = "127.0.0.1"
# What a page is made of; checkpoints are none of it.
_FILES = ("sweep.json",)
_OF_RUNS = ("metrics.jsonl", "samples.txt", "result.json", "environment.json")

_SCRIPT = """
const seen = sessionStorage;
for (const one of document.querySelectorAll("input[name=axis]")) {
  if (seen.axis === one.id) one.checked = true;
  one.addEventListener("change", () => { seen.axis = one.id; });
}
let first = null;
setInterval(async () => {
  try {
    const answer = await fetch("/", { method: "HEAD", cache: "no-store" });
    const now = answer.headers.get("ETag");
    if (first !== null && now !== first) location.reload();
    first = now;
  } catch { document.title = "(stopped) " + document.title.replace("(stopped) ", ""); }
}, SECONDS * 1000);
"""


class Live:
    """A page that is made again when what it shows has changed.

    Args:
        paths: of sweeps and runs.
        seconds: between the page's questions.
    """

    def __init__(self, paths: Sequence[Path], seconds: float = 3.0):
        self._paths = paths
        self._script = _SCRIPT.replace("SECONDS", f"{seconds:g}")
        self._lock = Lock()
        self._made = ("", b"")

    def stamp(self) -> str:
        """A word that changes when a file does."""
        return f'"{hash(tuple(sorted(self._files()))):x}"'

    def _files(self) -> list[tuple[str, int, int]]:
        """Name, size and time of each file of the page."""
        found = []
        for path in self._paths:
            runs = folders_with("experiment.json", path)
            wanted = [path / name for name in _FILES]
            wanted += [run / name for run in runs for name in _OF_RUNS]
            for file in wanted:
                try:
                    about = os.stat(file)
                except OSError:
                    continue
                found.append((str(file), about.st_size, about.st_mtime_ns))
        return found

    def read(self) -> tuple[str, bytes]:
        """The stamp of the page, and the page; one that can't be made says why."""
        with self._lock:
            now = self.stamp()
            if now != self._made[0]:
                self._made = now, self._page().encode("utf-8", "replace")
            return self._made

    def _page(self) -> str:
        try:
            return page(gather(self._paths), self._script)
        except UserError as error:
            told = element("p", f"Not yet: {error}")
            body = element("body", told, element("script", self._script))
            return "<!doctype html>\n" + markup(element("html", body, lang="en"))


def server_of(live: Live, port: int) -> ThreadingHTTPServer:
    """A server of one page, on loopback; it answers once `serve_forever` is called.

    Args:
        live: the page.
        port: that it listens on; 0 is one that is free.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    try:
        return ThreadingHTTPServer((LOOPBACK, port), _handler(live))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--port {port} can't be listened on: {error}. Give another, or none: then "
            "a free one is taken."
        ) from error


def _handler(live: Live) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers for the page, asked for by this machine's own name."""

        def do_HEAD(self) -> None:
            """Say whether the page has changed."""
            self._answer(lambda: (live.stamp(), b""))

        def do_GET(self) -> None:
            """Give the page."""
            self._answer(live.read, body=True)

        def _answer(
            self, made: Callable[[], tuple[str, bytes]], body: bool = False
        ) -> None:
            # Another name would be of a page elsewhere that was led to this address.
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if self.path != "/" or host not in (LOOPBACK, "localhost"):
                self.send_error(404)
                return
            stamp, content = made()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Cache-Control", "no-store")
            self.send_header("ETag", stamp)
            if body:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: who watches looks at the page."""

    return Handler
