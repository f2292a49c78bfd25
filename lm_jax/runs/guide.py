"""What a run keeps of the other run that its objective reads: a teacher, a reference.

Its parameters stay where they are, and are read again whenever the run goes on.
"""

import json
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import atomic_write

GUIDE = "guide.json"


def keep_guide(run: Path, about: dict[str, Any]) -> None:
    """Write which run it is, and a digest of its parameters; or see that it is it.

    Raises:
        UserError: it has other parameters than it had.
    """
    check_guide(run, about)
    if not (run / GUIDE).exists():
        text = json.dumps(about, indent=2, ensure_ascii=False)
        atomic_write(run / GUIDE, text + "\n")


def check_guide(run: Path, about: dict[str, Any]) -> None:
    """See that the other run has the parameters that it had.

    Args:
        run: that keeps what it began with.
        about: "field" of the objective, "run", "step" and "parameters", a digest.

    Raises:
        UserError: it has others, or what was kept can't be read.
    """
    path = run / GUIDE
    if not path.exists():
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        then, step = kept["parameters"], kept["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
    if then != about["parameters"]:
        now = f"checkpoint {about['step']}"
        now = "others now" if about["step"] == step else f"those of {now} now"
        raise UserError(
            f"objective.{about['field']}: {run} began with the parameters of "
            f"checkpoint {step} of {about['run']}, and its best are {now}. Put that "
            "run back as it was, or begin anew with --run DIRECTORY."
        )
