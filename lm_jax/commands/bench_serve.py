"""Clients of a server: how much faster many are answered together than one by one."""

import http.client
import json
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.commands.serve import http as http_parts
from lm_jax.data.template import plain_template
from lm_jax.files import write_json
from lm_jax.models import Learned, Transformer
from lm_jax.models.stack import initialise
from lm_jax.platform import held_memory
from lm_jax.report.serving import LOOPBACK
from lm_jax.runs.display import Display
from lm_jax.runs.model import NeuralModel
from lm_jax.serving.asked import Limits
from lm_jax.serving.embedding import Embedder
from lm_jax.serving.engine import Engine
from lm_jax.serving.opening import Writer
from lm_jax.serving.programs import Programs, narrowed
from lm_jax.tokenizers import Ids


@dataclass(frozen=True)
class Options:
    """Measure new tokens a second of one client of a server, and of several at once.

    The model has random weights and, unless told otherwise, the shape of GPT-2's
    smallest: 124 million parameters. Clients ask over HTTP, each for one answer after
    another, by turns: one client, then all. Close other programs first.
    """

    clients: int = within("[2, 256]", 8)
    """How many at once; the server has as many slots."""
    prompt: int = within("[1, 100000]", 64)
    """Tokens of a prompt."""
    tokens: int = within("[2, 100000]", 64)
    """Tokens of an answer."""
    turns: int = within("[1, 1000]", 3)
    """Of one client, and of all."""
    minutes: float = within("[0, 10000]", 0.0)
    """For how long all clients go on, while the memory is watched; 0 leaves it out."""
    layers: int = within("[1, 1000]", 12)
    """Of the model."""
    width: int = within("[1, 100000]", 768)
    """Of the model; heads have 64."""
    vocab: int = within("[2, 10000000]", 50257)
    """Tokens that the model knows."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """What it computes in."""
    write: Path | None = None
    """Write the figures here as JSON too."""


def main(args: list[str]) -> None:
    """Run the command."""
    options = read_options(Options, "bench serve", args)
    check(options, "bench serve")
    app, server = http_parts()
    with server.listen(LOOPBACK, 0) as taken:
        with Display(0).waiting("compiling"):
            opened = _random_model(options)
            programs = Programs(opened.fitted, options.clients)
            embedder = Embedder(opened.fitted, 1)
        engine = Engine(programs, opened.tokenizer)
        paths = app.WritingPaths(opened, engine, embedder, Limits(seconds=3600.0))
        made = app.make_app(paths)
        with engine, server.Server(made, taken, Limits()) as serving:
            found = _measured(serving.port, options)
            if options.minutes:
                found["memory"] = _watched(serving.port, options)
    for line in _told(found, options):
        print(line)
    if options.write is not None:
        write_json(options.write, found)


def _random_model(options: Options) -> Writer:
    """A decoder with first values, whose text is numbers."""
    context = options.prompt + options.tokens
    model = Transformer(
        layers=options.layers,
        heads=max(1, options.width // 64),
        width=options.width,
        positions=Learned(context),
        vocab_size=options.vocab,
        dtype=options.dtype,
    )
    key = jax.random.key(0)
    params = initialise(model, key, jnp.zeros((1, 1), jnp.int32))
    tokenizer = Ids(options.vocab, None).train([])
    fitted = narrowed(NeuralModel(None, tokenizer, model, params, context, 0))
    return Writer("random", fitted, plain_template(tokenizer), False)


def _measured(port: int, options: Options) -> dict[str, Any]:
    """New tokens a second of one client and of all, by turns."""
    taken: dict[int, list[float]] = {1: [], options.clients: []}
    display = Display(0)
    for turn in range(options.turns + 1):
        display.work("one client and all, by turns", turn, options.turns)
        for clients in taken:
            began = time.perf_counter()
            _ask_all(port, clients, options, turn)
            taken[clients].append(time.perf_counter() - began)
    display.close()
    one, many = (taken[k][1:] for k in taken)  # the first turn warms up
    ratios = [options.clients * a / b for a, b in zip(one, many, strict=True)]
    return {
        "clients": options.clients,
        "prompt": options.prompt,
        "tokens": options.tokens,
        "dtype": options.dtype,
        "one": options.tokens / statistics.median(one),
        "many": options.clients * options.tokens / statistics.median(many),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def _watched(port: int, options: Options) -> list[dict[str, float]]:
    """Minutes and megabytes while all clients ask, a figure after each round."""
    found: list[dict[str, float]] = []
    began = time.monotonic()
    display = Display(0)
    while (now := (time.monotonic() - began) / 60) < options.minutes:
        display.work("all clients", round(now * 60), round(options.minutes * 60))
        _ask_all(port, options.clients, options, len(found))
        found.append({"minutes": now, "megabytes": held_memory() / 1e6})
    display.close()
    return found


def _ask_all(port: int, clients: int, options: Options, turn: int) -> None:
    """Let clients ask at once, each something else."""
    failed: list[Exception] = []

    def ask(client: int) -> None:
        first = (client * 131 + turn * 17) % options.vocab
        prompt = [(first + 7 * k) % options.vocab for k in range(options.prompt)]
        try:
            _ask(port, prompt, options.tokens)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _ask(port: int, prompt: Sequence[int], tokens: int) -> None:
    body = {"prompt": list(prompt), "max_tokens": tokens, "temperature": 0}
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=3600)
    sent = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), sent)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    if answer.status != 200 or told["usage"]["completion_tokens"] != tokens:
        raise RuntimeError(f"{answer.status}: {str(told)[:200]}")


def _told(found: dict[str, Any], options: Options) -> list[str]:
    """The figures in words."""
    shape = f"{options.layers} layers, width {options.width}, {options.dtype}"
    lines = [
        f"A decoder of {shape}: {options.prompt} tokens read, {options.tokens} written",
        f"  1 client   {found['one']:8,.1f} new tokens/s",
        f"{options.clients:3} clients  {found['many']:8,.1f} new tokens/s: "
        f"{found['ratio']:.2f} times as many "
        f"({found['lowest']:.2f} to {found['highest']:.2f})",
    ]
    if memory := found.get("memory"):
        held = [each["megabytes"] for each in memory]
        lines.append(
            f"Memory over {options.minutes:g} minutes: {held[0]:,.0f} MB at first, "
            f"{max(held):,.0f} at most, {held[-1]:,.0f} at last."
        )
    return lines
