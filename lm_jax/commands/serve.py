"""Serve a trained model over HTTP, and a page to try it."""

import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Annotated

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
from lm_jax.serving.opening import Opened, open_model
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
    make_app, server_of, listen = http()
    key = _key(options.key_file)
    given = _of_answers(options)
    limits = Limits(
        body=options.body,
        seconds=options.seconds,
        length=given.get("length", Limits.length),
        queue=given.get("queue", Limits.queue),
    )
    with listen(options.host, options.port) as taken:
        with Display(0, sys.stderr).waiting(f"reading {options.run}, and compiling"):
            opened = open_model(options.run, options.step, vectors=True)
            _check(opened, options, given)
            engine = _engine(opened, options, limits)
            embedder = Embedder(opened.fitted, options.context)
        app = make_app(opened, engine, embedder, limits, options.host, key)
        ended = threading.Event()
        told: list[int] = []

        def end(number: int, _: object) -> None:
            told.append(number)
            ended.set()

        before = {s: signal.signal(s, end) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            with engine or nullcontext(), server_of(app, taken, limits) as server:
                print(f"Serving {opened.name} at {server.address}/ (Ctrl-C ends).")
                print(textwrap.fill(_about(opened, embedder), 80), flush=True)
                ended.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    print("No longer served.")
    return 130 if told[0] == signal.SIGINT else 0


def _of_answers(options: Options) -> dict[str, int]:
    """Those given of the options that are of written answers, and of no vectors."""
    numbers = {n: getattr(options, n) for n in ("slots", "queue", "length")}
    return {name: number for name, number in numbers.items() if number is not None}


def _check(opened: Opened, options: Options, given: Collection[str]) -> None:
    """Refuse what means nothing to the model.

    Raises:
        UserError: naming the option.
    """
    if opened.fitted.embeds and given:
        names = " and ".join(f"--{name}" for name in given)
        raise UserError(
            f"{options.run} gives vectors, and writes no answers: leave {names} out."
        )
    most = opened.fitted.context
    if options.context is not None and options.context > most:
        raise UserError(
            f"--context {options.context}: the run's is {most}. Give that or less."
        )


def _about(opened: Opened, embedder: Embedder) -> str:
    """Say how conversations are written, or what vectors there are."""
    if not opened.fitted.embeds:
        return f"Template of chats: {opened.told}."
    most = " and ".join(f"{n} of a {side}" for side, n in embedder.longest.items())
    return (
        f"It gives vectors of {embedder.width} numbers, and writes no text: POST to "
        f"/v1/embeddings. It reads up to {most}, in tokens."
    )


def _engine(opened: Opened, options: Options, limits: Limits) -> Engine | None:
    """What answers; None where the model gives vectors, and writes no text."""
    if opened.fitted.embeds:
        return None
    programs = Programs(opened.fitted, options.slots or SLOTS, options.context)
    return Engine(programs, opened.tokenizer, limits.queue)


def http() -> tuple[Callable, Callable, Callable]:
    """Give what an application is made by, its server, and what takes a port.

    Raises:
        UserError: they are an extra, which isn't installed.
    """
    try:
        from lm_jax.serving.app import make_app
        from lm_jax.serving.server import Server, listen
    except ImportError as error:
        raise UserError(
            f"serve needs starlette and uvicorn ({error}): {from_extra('serve')}"
        ) from error
    return make_app, Server, listen


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
