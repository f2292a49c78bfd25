"""python -m lm_jax COMMAND: find the command and run it."""

import importlib
import os
import sys
from importlib.metadata import version
from typing import Any, NoReturn

from lm_jax.errors import Diverged, Lost, UserError, nearest
from lm_jax.files import refused
from lm_jax.platform import called, configure
from lm_jax.streams import protect_standard_streams

COMMANDS = {
    "train": "train the model of an experiment file",
    "sweep": "train variants with several seeds, and compare them",
    "evaluate": "score a trained model on a whole split",
    "generate": "let a trained model continue a prompt",
    "chat": "a conversation with a trained model",
    "serve": "a trained model over HTTP, and a page to try it",
    "index": "documents become an index, by a run that finds them",
    "search": "the documents of an index that answer a query best",
    "show": "what an experiment resolves to, before it runs",
    "tokenize": "make the tokens of a text, on one machine or on several",
    "plan": "what a step needs of machines that are not here",
    "diff": "what differs between two experiments or runs",
    "report": "a page of a sweep or of runs, or tables for a paper",
    "watch": "the same page in a browser, while they train",
    "compare": "whether one folder of runs is better than another",
    "contest": "a referee for proposals that compete, one by one",
    "table": "results of many runs beside the published figures",
    "laws": "loss by parameters and tokens: fit, predict, check",
    "transfer": "whether the best learning rate stays as a model is widened",
    "runs": "runs of a folder: how far, how large; `runs prune` makes room",
    "import": "a Hugging Face checkpoint becomes a run",
    "export": "a run becomes a Hugging Face checkpoint",
    "quantize": "a run becomes one with weights of eight bits, or of four",
    "merge": "adapters and their base become a run that stands alone",
    "vectors": "score word vectors, or write them as text",
    "inspect": "what a step was trained on; what a model says of a text",
    "probe": "minimal pairs: how often the right sentence is likelier",
    "replay": "make a step of a run again: equal, or where it first differs",
    "verify": "make the last stretch of a run again, and compare all of it",
    "bench": "measure speed, that nothing is lost, what the tests notice",
    "doctor": "what this machine has, and what to mend",
    "test": "run the tests",
}

# What these find is in files: to have it is enough.
KEPT = ("train", "sweep", "evaluate", "contest")
# But what they are asked for by these is nowhere else.
PRINTED = {"--json", "--preview", "--dry-run", "--help", "-h"}
# These compute nothing, and don't wait for jax; doctor says what is wrong with it.
READING = ("runs", "table", "test", "doctor")


def _usage() -> str:
    lines = [f"  {name:10}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {called()} COMMAND ...",
            "",
            *lines,
            "",
            f"  {called()} COMMAND --help   says more.",
            f"  {called()} train experiments/gpt_shakespeare.py   is a good start.",
        ]
    )


def _say(error: Exception | str) -> None:
    """An error as sentences of 80 columns, and nothing that a terminal obeys."""
    from lm_jax.runs.display import Display

    Display(0, sys.stderr).message(str(error))


def _check_here() -> None:
    """See that the working directory is there: paths begin from it.

    Raises:
        UserError: it was deleted.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError(
            "The directory that you are in was deleted: change to one that is there "
            "(cd), and start again."
        ) from error


def main(args: list[str]) -> int:
    """Run a command; a user's mistake is one message and exit code 2."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if args[0] in ("--version", "-V"):
        print(f"lm_jax {version('lm-jax')}")
        return 0
    try:
        if args[0] not in COMMANDS:
            raise UserError(
                f"There is no command '{args[0]}'.{nearest(args[0], COMMANDS)}"
            )
        _check_here()
        if args[0] not in READING:
            configure(ahead=args[0] == "plan")
        command = importlib.import_module(f"lm_jax.commands.{args[0]}")
        return command.main(args[1:]) or 0
    except UserError as error:
        _say(error)
        return 2
    except (Diverged, Lost) as error:
        _say(error)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except Exception as error:
        from lm_jax.experiment.loading import own_fault

        fault: Any = own_fault(error)
        if fault is None and isinstance(error, OSError):
            fault = refused(error)
        if not fault:
            raise  # a fault of ours
        _say(fault)
        return 2


def is_kept(args: list[str]) -> bool:
    """Whether a command's output may be lost, as what it says is in files too.

    The exit status of a contest is its verdict, which no lost output turns.
    """
    name = args[0] if args else ""
    return name in KEPT and (name == "contest" or PRINTED.isdisjoint(args))


def command() -> NoReturn:
    """Be the process ``lm_jax`` or ``python -m lm_jax``, whatever its streams are."""
    if sys.getfilesystemencoding() == "ascii":
        # Paths, prompts and files are UTF-8, as Python itself has it in the C locale
        # (PEP 540) where nobody forbids it. Only a fresh start can change that.
        arguments = ["-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, [sys.executable, *arguments])
    protect_standard_streams()
    args = sys.argv[1:]
    code = main(args)
    sys.stdout.flush()
    if code and "lm_jax.distributed" in sys.modules:
        sys.modules["lm_jax.distributed"].leave(code)
    lost = getattr(sys.stdout, "lost", None)
    if lost is None or code or is_kept(args):
        sys.exit(code)
    if not isinstance(lost, BrokenPipeError):  # `| head` has read all that it wants
        print(f"Not all could be printed: {lost.strerror}.", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    command()
