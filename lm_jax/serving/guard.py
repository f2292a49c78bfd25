"""What is looked at before a request is read: where it comes from, and its key."""

import hmac
import ipaddress
from collections import Counter
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from lm_jax.serving.refusals import Refused

# They tell nothing of the model and start nothing.
OPEN = ("/", "/page.js", "/page.css", "/health")


class Guard:
    """An ASGI application around another one.

    A name that leads to this machine may be a stranger's page, so a request's Host is
    an address, localhost or the name that the server was told to listen at; and its
    Origin, where it has one, is that host. No other origin is ever allowed to read.

    Args:
        app: what answers.
        paths: that there are.
        host: that the server listens at.
        key: that requests must have; None is none.

    Attributes:
        counts: requests by path and status.
    """

    def __init__(self, app: Any, paths: Collection[str], host: str, key: str | None):
        self._app, self._paths, self._key = app, paths, key
        self._names = {"localhost", host.lower()}
        self.counts: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                # Whatever else is asked for would be names without end.
                known = path if path in self._paths else ""
                self.counts[known, message["status"]] += 1
            await send(message)

        try:
            self._check(path, Headers(scope=scope))
        except Refused as refused:
            await JSONResponse(refused.body, refused.status)(scope, receive, counted)
            return
        await self._app(scope, receive, counted)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Refused(
                403, f"The Host {host!r} is not this server's.", code="wrong_host"
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Refused(403, f"Not for pages of {origin}.", code="wrong_origin")
        if self._key is None or path in OPEN:
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._key.encode())
        if kind.lower() != "bearer" or not right:
            raise Refused(
                401, "The key is missing or wrong: Authorization: Bearer KEY."
            )

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True
