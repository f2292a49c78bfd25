"""The server itself: a socket, a thread, and how it ends."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lm_jax.errors import UserError
from lm_jax.serving.asked import Limits


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: a name or an address of this machine.
        port: 0 is one that is free.

    Raises:
        UserError: it is taken or may not be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--host {host} --port {port} can't be listened on: {error}. Give another "
            "port, or 0 for one that is free."
        ) from error


class Server:
    """Answers on a socket while it is entered; at the end it finishes what it began.

    Args:
        app: that answers.
        taken: the socket.
        limits: of a request.
        grace: seconds that answers have to end in.
    """

    def __init__(
        self, app: Any, taken: socket.socket, limits: Limits, grace: float = 10.0
    ):
        config = uvicorn.Config(
            app,
            http=_patient(limits.body_seconds),
            ws="none",
            lifespan="off",
            log_config=None,  # its own ends the handlers that others have set
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(grace)),
            # A request has up to so many answers, and some only look at the page.
            limit_concurrency=2 * limits.queue + 64,
        )
        self._server, self._socket = uvicorn.Server(config), taken
        self._thread = threading.Thread(target=self._run, daemon=True, name="server")
        self.host, self.port = taken.getsockname()[:2]

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> "Server":
        """Begin; requests are answered when this returns."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take no more requests, finish those that have begun, and end."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._socket]))


def _patient(seconds: float) -> type[H11Protocol]:
    """A protocol that closes connections on which no request comes in time."""

    class Patient(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                self._wait_no_more()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.response_complete:  # else the next request has come already
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._wait_no_more()
            self._late = self.loop.call_later(seconds, self._give_up)

        def _wait_no_more(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _give_up(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )
                self.transport.close()

    return Patient
