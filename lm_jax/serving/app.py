"""The paths of the server, and what each does."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.responses import StreamingResponse as Stream
from starlette.routing import Route

from lm_jax.errors import UserError
from lm_jax.report.style import STYLE
from lm_jax.serving.answers import Form, vectors_told
from lm_jax.serving.asked import (
    Asked,
    Limits,
    asked_chat,
    asked_text,
    asked_vectors,
)
from lm_jax.serving.embedding import Embedder
from lm_jax.serving.engine import Engine
from lm_jax.serving.guard import Guard
from lm_jax.serving.jobs import Busy, Closed, Job, Late, Ticket
from lm_jax.serving.metrics import metrics
from lm_jax.serving.opening import Opened, Writer
from lm_jax.serving.refusals import Refused, refusal_of
from lm_jax.serving.writing import Piece

_PAGE = Path(__file__).parent / "page"
# A page that can be led to load or to send nothing else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Answering:
    """The answers to one request; who goes away frees its slots.

    Args:
        engine: that answers.
        jobs: of the request.

    Raises:
        UserError, Busy, Closed: as `Engine.submit`.
    """

    def __init__(self, engine: Engine, jobs: Sequence[Job]):
        loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue()

        def tell_of(number: int) -> Callable[[Piece | Exception], None]:
            def tell(piece: Piece | Exception) -> None:
                loop.call_soon_threadsafe(self._told.put_nowait, (number, piece))

            return tell

        tells = [tell_of(number) for number in range(len(jobs))]
        self._engine, self._left = engine, len(jobs)
        self._tickets: list[Ticket] = engine.submit(jobs, tells)

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Give the pieces of all answers as they come, with the answer's number."""
        while self._left:
            number, piece = await self._told.get()
            if isinstance(piece, Exception):
                raise piece
            self._left -= piece.reason is not None
            yield number, piece

    def leave(self) -> None:
        """Say that nobody waits any longer."""
        self._engine.leave(self._tickets)


class Streamed(Stream):
    """A stream of an answer, which ends the answer when its reader goes away."""

    answering: Answering

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answering.leave()


class Paths:
    """What each path of a model does that gives vectors, and writes no text.

    Args:
        opened: the model.
        embedder: that makes vectors.
        limits: of a request.
    """

    def __init__(self, opened: Opened, embedder: Embedder, limits: Limits = Limits()):
        self.embedder = embedder
        self._opened, self._limits = opened, limits

    def routes(self) -> list[Route]:
        """Give the paths."""
        return [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            *self._of_text(),
        ]

    def _of_text(self) -> list[Route]:
        """The paths of text that is written, each of which says that there is none."""
        return [
            Route("/v1/completions", _no_text, methods=["POST"]),
            Route("/v1/chat/completions", _no_text, methods=["POST"]),
            Route("/", _no_page),
        ]

    @property
    def engine(self) -> Engine | None:
        """What answers, where text is written."""
        return None

    @property
    def window(self) -> int | None:
        """Tokens that the model reads, at most; None is any number."""
        return self.embedder.longest["passage"]

    async def health(self, _: Request) -> Response:
        """Say whether requests are answered."""
        return JSONResponse({"status": "ok"})

    async def models(self, _: Request) -> Response:
        """List the one model."""
        return JSONResponse({"object": "list", "data": [self._about()]})

    async def model(self, request: Request) -> Response:
        """Tell of the model by its name."""
        name = request.path_params["name"]
        if name != self._opened.name:
            raise Refused(404, f"There is no model {name!r}.", code="model_not_found")
        return JSONResponse(self._about())

    def _about(self) -> dict[str, Any]:
        about = {"id": self._opened.name, "object": "model", "created": 0}
        return about | {"owned_by": "lm_jax", "max_model_len": self.window}

    async def embeddings(self, request: Request) -> Response:
        """Give vectors of texts."""
        opened, embedder, limits = self._opened, self.embedder, self._limits
        body = await _body(request, limits)
        asked = await run_in_threadpool(asked_vectors, body, opened, limits, embedder)
        texts, side, done = asked.texts, asked.side, 0
        vectors = np.empty((len(texts), embedder.width), np.float32)
        try:
            async with asyncio.timeout(limits.seconds):
                for places in embedder.batches(texts, side):
                    if await request.is_disconnected():
                        return Response(status_code=499)  # nobody reads it
                    some = [texts[place] for place in places]
                    made = await run_in_threadpool(embedder.vectors, some, side)
                    vectors[places], done = made, done + len(places)
        except TimeoutError:
            message = f"Its time ran out after {done} of {len(texts)} texts."
            raise Late(message) from None
        tokens = sum(map(len, texts))
        embedder.count(len(texts), tokens)
        told = vectors_told(vectors, tokens, opened.name, asked.packed)
        return JSONResponse(told)


class WritingPaths(Paths):
    """What each path of a model does that continues text, and has a page to try it.

    Args:
        writer: the model.
        engine: that answers.
        embedder: that makes vectors.
        limits: of a request.
    """

    def __init__(
        self,
        writer: Writer,
        engine: Engine,
        embedder: Embedder,
        limits: Limits = Limits(),
    ):
        super().__init__(writer, embedder, limits)
        self._writer, self._engine = writer, engine

    def _of_text(self) -> list[Route]:
        return [
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/", _file("page.html", "text/html")),
            Route("/page.js", _file("page.js", "text/javascript")),
            Route("/page.css", _style),
        ]

    @property
    def engine(self) -> Engine:
        """What answers."""
        return self._engine

    @property
    def window(self) -> int | None:
        """Tokens of a prompt and its answer, at most; None is any number."""
        return self._engine.model.window

    async def health(self, _: Request) -> Response:
        """Say whether requests are answered."""
        if failed := self._engine.failed:
            raise refusal_of(failed)
        return await super().health(_)

    async def completions(self, request: Request) -> Response:
        """Continue texts."""
        body = await _body(request, self._limits)
        # A schema takes a while to read: others are answered meanwhile.
        asked = await run_in_threadpool(asked_text, body, self._writer, self._limits)
        return await self._answer(request, asked)

    async def chat(self, request: Request) -> Response:
        """Answer in a conversation."""
        body = await _body(request, self._limits)
        asked = await run_in_threadpool(asked_chat, body, self._writer, self._limits)
        return await self._answer(request, asked)

    async def _answer(self, request: Request, asked: Asked) -> Response:
        answering = Answering(self._engine, asked.jobs)
        form = Form(asked, self._writer.name, self._writer.tokenizer)
        if asked.stream:
            events = _events(form, answering)
            streamed = Streamed(events, media_type="text/event-stream")
            streamed.answering = answering
            streamed.headers["Cache-Control"] = "no-store"
            return streamed
        whole = asyncio.ensure_future(_whole(answering, len(asked.jobs)))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({whole, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not whole.done():
                return Response(status_code=499)  # nobody reads it
            return JSONResponse(form.whole(whole.result()))
        finally:
            answering.leave()
            whole.cancel()
            gone.cancel()


async def _whole(answering: Answering, count: int) -> list[list[Piece]]:
    """The pieces of each answer, once all have ended."""
    answers: list[list[Piece]] = [[] for _ in range(count)]
    async for number, piece in answering.pieces():
        answers[number].append(piece)
    return answers


async def _gone(request: Request) -> None:
    """Wait until nobody waits for the response."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(form: Form, answering: Answering) -> AsyncIterator[str]:
    """Tell an answer while it grows, as server-sent events."""
    asked, written = form.asked, 0
    for number in range(len(asked.jobs)):
        if asked.chat or asked.prompts[number]:
            yield _event(form.first(number))
    try:
        async for number, piece in answering.pieces():
            written += len(piece.tokens)
            yield _event(form.piece(number, piece))
    except Exception as error:
        yield _event(refusal_of(error).body)
        return
    if asked.usage:
        yield _event(form.last(written))
    yield "data: [DONE]\n\n"


def _event(told: Any) -> str:
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n"


async def _body(request: Request, limits: Limits) -> Any:
    """Read the body of a request as JSON.

    Raises:
        Refused: it is no JSON, too large, or too slow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise Refused(415, "Send JSON, with Content-Type: application/json.")
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise Refused(413, f"The body has more than {limits.body} bytes.")
                parts.append(part)
    except TimeoutError as error:
        message = f"The body took more than {limits.body_seconds:g} seconds."
        raise Refused(408, message, code="timeout") from error
    try:
        found = json.loads(b"".join(parts).decode("utf-8"))
        # Half of a pair of surrogates is no character, and can't be told of.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body is no JSON: {error}.") from error
    return found


_VECTORS = "This model gives vectors, and writes no text: POST to /v1/embeddings."


def _no_page(_: Request) -> Response:
    return PlainTextResponse(f"{_VECTORS}\n")


def _no_text(_: Request) -> Response:
    raise Refused(400, _VECTORS, code="writes_no_text")


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    """A path that gives a file of the page."""
    content = (_PAGE / name).read_bytes()

    def give(_: Request) -> Response:
        headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }
        return Response(content, media_type=kind, headers=headers)

    return give


def _style(_: Request) -> Response:
    own = (_PAGE / "page.css").read_text(encoding="utf-8")
    return PlainTextResponse(STYLE + own, media_type="text/css")


async def _refuse(_: Request, error: Exception) -> Response:
    refused = refusal_of(error)
    if refused.code == "failed":
        traceback.print_exception(error)
    headers = {"Retry-After": "1"} if refused.status in (429, 503) else None
    return JSONResponse(refused.body, refused.status, headers)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}."
    refused = Refused(error.status_code, message)
    return JSONResponse(refused.body, refused.status)


def make_app(paths: Paths, host: str = "127.0.0.1", key: str | None = None) -> Guard:
    """Give the application that a server runs.

    Args:
        paths: of the model.
        host: that the server listens at.
        key: that requests must have; None is none.
    """
    guard: Guard

    def count(_: Request) -> Response:
        told = metrics(paths.engine, paths.embedder, guard.counts)
        return PlainTextResponse(told)

    told = Route("/metrics", count)
    kinds = (Refused, Busy, Late, Closed, UserError, Exception)
    handlers: Any = dict.fromkeys(kinds, _refuse) | {HTTPException: _unknown}
    routes = [*paths.routes(), told]
    app = Starlette(routes=routes, exception_handlers=handlers)
    guard = Guard(app, {route.path for route in routes}, host, key)
    return guard
