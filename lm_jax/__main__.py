"""python -m lm_jax COMMAND: find the command and run it."""

import importlib
import os
import sys
import textwrap

from lm_jax.errors import Diverged, UserError, nearest
from lm_jax.platform import configure

COMMANDS = {
    "train": "train the model of an experiment file",
    "evaluate": "score a trained model on a whole split",
    "generate": "let a trained model continue a prompt",
    "show": "what an experiment resolves to, before it runs",
    "diff": "what differs between two experiments or runs",
    "table": "results of many runs beside the published figures",
    "vectors": "score word vectors, or write them as text",
    "inspect": "what a step of a run was trained on, token by token",
    "bench": "measure speed: training, n-grams, word vectors, data",
    "doctor": "what this machine has, and what to mend",
    "test": "run the tests",
}


def _usage() -> str:
    lines = [f"  {name:10}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ./launch.sh COMMAND ...",
            "",
            *lines,
            "",
            "  ./launch.sh COMMAND --help   says more.",
            "  ./launch.sh train experiments/gpt_shakespeare.py   is a good start.",
        ]
    )


def _say(error: Exception) -> None:
    """An error as sentences of 80 columns; indented lines stay as they are."""
    for line in str(error).split("\n"):
        if not line.startswith(" "):
            line = textwrap.fill(
                line, 80, break_long_words=False, break_on_hyphens=False
            )
        print(line, file=sys.stderr)


def main(args: list[str]) -> int:
    """Run a command; a user's mistake is one message and exit code 2."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    try:
        if args[0] not in COMMANDS:
            raise UserError(
                f"There is no command '{args[0]}'.{nearest(args[0], COMMANDS)}"
            )
        if args[0] != "test":
            configure()
        command = importlib.import_module(f"lm_jax.commands.{args[0]}")
        return command.main(args[1:]) or 0
    except UserError as error:
        _say(error)
        return 2
    except Diverged as error:
        _say(error)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from lm_jax.experiment.loading import own_fault

        fault = own_fault(error)
        if fault is None:
            raise  # a fault of ours
        _say(fault)
        return 2


def command() -> None:
    """Run the console script ``lm_jax``."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
