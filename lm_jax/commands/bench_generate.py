"""Writing with a cache, beside transformers' in PyTorch."""

import importlib.util
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm_jax.bench.compare import Side
from lm_jax.bench.writing import (
    Speed,
    agreement,
    compare,
    programs,
    ratios,
    read_rate,
    rows,
)
from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.files import write_json
from lm_jax.platform import from_extra


@dataclass(frozen=True)
class Options:
    """Go on from prompts in lm_jax and in transformers, in turn, on the CPU.

    Both read the same random weights and take the likeliest token. The model has,
    unless told otherwise, the shape of GPT-2's smallest: 124 million parameters.
    Prefill is the time until the first token, decoding all after it. Close other
    programs first.
    """

    batches: tuple[int, ...] = within("[1, 1024]", (1, 8))
    """Texts at once."""
    prompt: int = within("[2, 100000]", 128)
    """Tokens of a prompt."""
    tokens: int = within("[2, 100000]", 128)
    """Tokens that are written."""
    turns: int = within("[1, 1000]", 3)
    """Of each mode; the table shows their median."""
    layers: int = within("[1, 1000]", 12)
    """Of the model."""
    width: int = within("[1, 100000]", 768)
    """Of the model; heads have 64."""
    vocab: int = within("[2, 10000000]", 50257)
    """Tokens that the model knows."""
    write: Path | None = None
    """Write the figures here as JSON too."""


def main(args: list[str]) -> int:
    """Run the command; 1 where float32 tokens of the two differ."""
    options = read_options(Options, "bench generate", args)
    check(options, "bench generate")
    sides = []
    try:
        sides.append(Side("lm_jax", "jax_writing"))
        if all(map(importlib.util.find_spec, ("torch", "transformers"))):
            sides.append(Side("PyTorch", "torch_writing"))
        else:
            print(f"PyTorch and transformers aren't here: {from_extra('bench')}")
        found = _measured(options, sides)
    finally:
        for side in sides:
            side.close()
    if options.write is not None:
        write_json(options.write, found)
    if any(each["float32"] not in (None, 1.0) for each in found["agreement"]):
        print("The float32 tokens of the two differ: don't trust these figures.")
        return 1
    return 0


def _measured(options: Options, sides: list[Side]) -> dict[str, Any]:
    """What both sides do, told while it comes, and all of it."""
    versions = {side.library: side.version for side in sides}
    print(f"{os.cpu_count()} cores; {'; '.join(versions.values())}")
    weights, bandwidth = _made(options, sides), read_rate()
    print(
        f"{weights / 1e6:.1f}M weights, {options.prompt} tokens read, "
        f"{options.tokens} written; memory read at {bandwidth / 1e9:.1f} GB/s\n"
    )
    random = np.random.default_rng(0)

    def draw(length: int) -> list[int]:
        return random.integers(options.vocab, size=length).tolist()

    speeds: list[Speed] = []
    same = []
    for batch in options.batches:
        prompts = [draw(options.prompt) for _ in range(batch)]
        new = compare(sides, prompts, options.tokens, options.turns, _say)
        _say("")
        head, *lines = rows(new, weights, bandwidth)
        print("\n".join(lines if speeds else [head, *lines]), flush=True)
        speeds += new
        shares = {mode: agreement(new, mode) for mode in ("float32", "bfloat16")}
        print(f"      tokens that both wrote: {_shares(shares)}")
        same.append(shares)
    lengths = list(range(options.prompt // 2 + 1, 2 * options.prompt, 8))
    compiled = programs(sides[0], lengths, draw)
    print(f"\n{len(lengths)} new prompt lengths: {compiled} programs compiled")
    for each in ratios(speeds):
        print(
            f"batch {each['batch']}, {each['mode']}: {each['decoding']:.2f} times as "
            f"fast as PyTorch, prefill {each['prefill']:.2f}, both {each['total']:.2f}"
        )
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": versions,
        "weights": weights,
        "prompt": options.prompt,
        "tokens": options.tokens,
        "bandwidth": bandwidth,
        "speeds": list(map(_as_object, speeds)),
        "ratios": ratios(speeds),
        "agreement": same,
        "lengths": len(lengths),
        "programs": compiled,
    }


def _made(options: Options, sides: list[Side]) -> int:
    """Make the model that all sides open, and give the weights that a token meets."""
    context = 2 * options.prompt + options.tokens
    with tempfile.TemporaryDirectory() as folder:
        shape = {name: getattr(options, name) for name in ("layers", "width", "vocab")}
        made = sides[0].ask("make", folder=folder, context=context, **shape)
        for side in sides:
            side.ask("open", folder=folder)
    # A token takes but one row of the table of positions.
    return made["parameters"] - context * options.width


def _shares(shares: dict[str, float | None]) -> str:
    found = [f"{mode} {s:.1%}" for mode, s in shares.items() if s is not None]
    return ", ".join(found) or "there is but one library"


def _as_object(speed: Speed) -> dict[str, Any]:
    """A speed for the file, without the tokens."""
    told = {name: value for name, value in asdict(speed).items() if name != "tokens"}
    return told | {"first": speed.first, "decoding": speed.rate, "total": speed.total}


def _say(what: str) -> None:
    """A line that the next one replaces, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
