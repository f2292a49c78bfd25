"""A conversation with a trained model, in the terminal."""

import sys
import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.bounds import SEEDS, check, within
from lm_jax.commands.options import read_options
from lm_jax.errors import UserError, nearest
from lm_jax.generation import Sampling
from lm_jax.runs.display import Display
from lm_jax.serving.conversation import Conversation
from lm_jax.serving.engine import Engine
from lm_jax.serving.opening import open_writer
from lm_jax.serving.programs import Programs

_COMMANDS = {
    "/reset": "forget all that was said",
    "/system TEXT": "another system text, and forget all that was said",
    "/help": "these lines",
    "/exit": "end",
}


@dataclass(frozen=True)
class Options:
    """Talk with a trained model: it answers while you read, and remembers.

    A conversation is written as the run's training text was, where that was prompts
    with answers; else plainly, a line for each turn. Where it grows beyond what the
    model reads, the oldest turns are forgotten, and that is said. Ctrl-C ends an
    answer, Ctrl-D or /exit the conversation; /help lists what else there is.

    Where standard input is no terminal, each line of it is a turn.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""
    system: str = ""
    """Text that stands before the conversation."""
    length: int = within("[1, 2147483647]", 256)
    """The most tokens of an answer."""
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = Sampling(temperature=0.8)
    """How each token is drawn."""
    seed: int = within(SEEDS, 0)
    """Another seed draws other answers."""
    step: int | None = None
    """Checkpoint to use; the best one if not given."""

    def __post_init__(self) -> None:
        """Refuse numbers that can't be."""
        check(self, "chat")


def main(args: list[str]) -> None:
    """Run the command, until the input ends."""
    options = read_options(Options, "chat", args)
    with Display(0, sys.stderr).waiting(f"reading {options.run}, and compiling"):
        opened = open_writer(options.run, options.step)
        options.sampling.check(opened.fitted.model.vocab_size)
        programs = Programs(opened.fitted, slots=1)
    told = textwrap.fill(f"Template: {opened.told}. /help says more.", 80)
    print(told, file=sys.stderr)
    with Engine(programs, opened.tokenizer) as engine:
        talk = Conversation(
            opened,
            engine,
            options.system,
            options.length,
            options.sampling,
            options.seed,
        )
        for line in _lines():
            if line.startswith("/"):
                if _obeyed(line, talk):
                    return
            elif line:
                _answer(talk, line)


def _lines() -> Iterator[str]:
    """What is typed, a line at a time, until it ends."""
    typed = sys.stdin.isatty()
    while True:
        try:
            line = input("> " if typed else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return
        yield line.strip()


def _answer(talk: Conversation, line: str) -> None:
    """Print an answer as it comes; Ctrl-C ends it."""
    try:
        forgotten, pieces = talk.say(line)
        if forgotten:
            noun = "turns no longer fit and are" if forgotten > 1 else "turn is"
            print(f"(The oldest {forgotten} {noun} forgotten.)", file=sys.stderr)
        for piece in pieces:
            print(_harmless(piece), end="", flush=True)
    except UserError as error:
        Display(0, sys.stderr).message(str(error))
        return
    except KeyboardInterrupt:
        print(" (stopped)", end="", file=sys.stderr)
    print(flush=True)


def _harmless(text: str) -> str:
    """A text without what a terminal would obey."""
    kept = (c in "\n\t" or unicodedata.category(c) != "Cc" for c in text)
    return "".join(c if k else "\ufffd" for c, k in zip(text, kept, strict=True))


def _obeyed(line: str, talk: Conversation) -> bool:
    """Do what a line that begins with / says; give whether it ends everything."""
    name, _, rest = line.partition(" ")
    if name == "/exit":
        return True
    if name in ("/reset", "/system"):
        talk.reset()
        talk.system = rest.strip() if name == "/system" else talk.system
        print("(Nothing was said.)", file=sys.stderr)
    elif name == "/help":
        for command, what in _COMMANDS.items():
            print(f"  {command:14}{what}", file=sys.stderr)
    else:
        names = [command.partition(" ")[0] for command in _COMMANDS]
        print(f"There is no {name}.{nearest(name, names)}", file=sys.stderr)
    return False
