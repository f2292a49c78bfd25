"""How the runs that a sweep only tunes by are named, and known by it."""

import re
from pathlib import Path

PLAN = "sweep.json"
"""File of a sweep's folder that its plan is written in."""


def trial_name(number: int) -> str:
    """The name of the directory of a trial."""
    return f"trial{number}"


def trial_number(name: str) -> int | None:
    """What `trial_name` named so; None of a run that is no trial."""
    found = re.fullmatch(r"trial(\d+)", name)
    return int(found[1]) if found else None


def is_trial(run: Path) -> bool:
    """Whether a run is one that a sweep only tuned by."""
    above = run.absolute().parents[1]
    return trial_number(run.name) is not None and (above / PLAN).is_file()
