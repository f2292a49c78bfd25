"""Serve a trained model over HTTP, and a page to try it."""

import signal
import sys
import textwrap
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from os import environ
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError
from lm_jax.files import given_path
from lm_jax.platform import from_extra
from lm_jax.report.serving import LOOPBACK
from lm_jax.runs.display import Display
from lm_jax.serving.asked import Limits
from lm_jax.serving.embedding import Embedder
from lm_jax.serving.engine import Engine
from lm_jax.serving.opening import Opened, Writer, open_model
from lm_jax.serving.programs import Programs

KEY = "LM_JAX_KEY"
SLOTS = 8


@dataclass(frozen=True)
class Options:
    """Serve a run over HTTP: OpenAI's completions, chat and embeddings.

    Paths are /v1/completions, /v1/chat/completions, /v1/embeddings and /v1/models,
    with streaming, logprobs, stop, n, seed and penalties; beside OpenAI's fields top_k,
    min_p, typical, repetition_penalty and no_repeat_ngram.
    / is a page to try it, /health says whether it answers, /metrics is Prometheus'.

    Requests are answered together, --slots at a time: each step adds a token to all.
    In float32 an answer is what it is alone; in bfloat16 sums are rounded to 8 bits,
    and where two tokens are nearly as likely another batch may take the other one.

    A bi-encoder's run has /v1/embeddings alone: the vectors that `index` writes, and
    with "input_type": "query" those that `search` looks with.

    It listens to this machine alone unless --host says otherwise.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    host: str = LOOPBACK
    """Address to listen at; 0.0.0.0 is every one of this machine. Then give a key."""
    port: int = within("[0, 65535]", 8000)
    """Port to listen at; 0 is one that is free."""
    key_file: Path | None = None
    """File whose first line is the key that requests must have; LM_JAX_KEY in the
    environment is one too."""
    slots: int | None = within("[1, 1024]", None)
    """Answers that are written at once; 8 if not given."""
    context: int | None = within("[1, 2147483647]", None)
    """Tokens of a prompt and its answer; the model's if not given."""
    queue: int | None = within("[0, 100000]", None)
    """Answers that may wait for a slot; beyond, requests get 429. 64 if not given."""
    seconds: float = within("(0, 86400]", 120.0)
    """Until an answer is cut, its time in the queue included."""
    length: int | None = within("[1, 2147483647]", None)
    """The most tokens of an answer that may be asked for; 4096 if not given."""
    body: int = within("[1, 2147483647]", 2**20)
    """The most bytes of a request."""
    step: int | None = None
    """Checkpoint to use; the best one if not given."""

    def __post_init__(self) -> None:
        """Refuse numbers that can't be."""
        check(self, "serve")


def main(args: list[str]) -> int:
    """Run the command, until Ctrl-C or SIGTERM."""
    options = read_options(Options, "serve", args)
    app, server = http()
    key = _key(options.key_file)
    with server.listen(options.host, options.port) as taken:
        with Display(0, sys.stderr).waiting(f"reading {options.run}, and compiling"):
            opened = open_model(options.run, options.step)
            limits = _limits(opened, options)
            paths = _paths(opened, options, limits)
        made = app.make_app(paths, options.host, key)
        ended = threading.Event()
        told: list[int] = []

        def end(number: int, _: object) -> None:
            told.append(number)
            ended.set()

        before = {s: signal.signal(s, end) for s in (signal.SIGINT, signal.SIGTERM)}
        engine = paths.engine or nullcontext()
        try:
            with engine, server.Server(made, taken, limits) as serving:
                print(f"Serving {opened.name} at {serving.address}/ (Ctrl-C ends).")
                print(textwrap.fill(_about(opened, paths.embedder), 80), flush=True)
                ended.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    print("No longer served.")
    return 130 if told[0] == signal.SIGINT else 0


def _limits(opened: Opened, options: Options) -> Limits:
    """What a request may ask for.

    Raises:
        UserError: an option means nothing to the model, or asks for too much.
    """
    numbers = {n: getattr(options, n) for n in ("slots", "queue", "length")}
    given = {name: number for name, number in numbers.items() if number is not None}
    if given and not isinstance(opened, Writer):
        names = " and ".join(f"--{name}" for name in given)
        raise UserError(
            f"{options.run} gives vectors, and writes no answers: leave {names} out."
        )
    most = opened.fitted.context
    if options.context is not None and options.context > most:
        raise UserError(
            f"--context {options.context}: the run's is {most}. Give that or less."
        )
    given.pop("slots", None)
    return Limits(body=options.body, seconds=options.seconds, **given)


def _paths(opened: Opened, options: Options, limits: Limits) -> Any:
    """Compile what the model is served by, and give the paths that call it."""
    app, _ = http()
    embedder = Embedder(opened.fitted, options.context)
    if not isinstance(opened, Writer):
        return app.Paths(opened, embedder, limits)
    programs = Programs(opened.fitted, options.slots or SLOTS, options.context)
    engine = Engine(programs, opened.tokenizer, limits.queue)
    return app.WritingPaths(opened, engine, embedder, limits)


def _about(opened: Opened, embedder: Embedder) -> str:
    """Say how conversations are written, or what vectors there are."""
    if isinstance(opened, Writer):
        return f"Template of chats: {opened.told}."
    most = " and ".join(f"{n} of a {side}" for side, n in embedder.longest.items())
    return (
        f"It gives vectors of {embedder.width} numbers, and writes no text: POST to "
        f"/v1/embeddings. It reads up to {most}, in tokens."
    )


def http() -> tuple[ModuleType, ModuleType]:
    """Give the application and the server: starlette's and uvicorn's.

    Raises:
        UserError: they are an extra, which isn't installed.
    """
    try:
        from lm_jax.serving import app, server
    except ImportError as error:
        raise UserError(
            f"serve needs starlette and uvicorn ({error}): {from_extra('serve')}"
        ) from error
    return app, server


def _key(file: Path | None) -> str | None:
    """The key that requests must have; None where none is given.

    Raises:
        UserError: the file can't be read, or has none.
    """
    if file is None:
        return environ.get(KEY) or None
    file = given_path(file, "--key-file")
    try:
        key = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise UserError(f"--key-file {file} can't be read: {error}.") from error
    if not key:
        raise UserError(f"--key-file {file}: its first line is empty, and is the key.")
    return key
