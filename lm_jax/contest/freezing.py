"""A recipe as it was when it was proposed: what runs is this copy."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from lm_jax.contest.ledger import Ledger, proposals
from lm_jax.contest.rules import check, refereed
from lm_jax.contest.value import Contest
from lm_jax.errors import UserError
from lm_jax.experiment import Experiment, digest, load, read, save
from lm_jax.experiment.comparing import own_kinds
from lm_jax.experiment.loading import outside_libraries
from lm_jax.files import atomic_write, writing
from lm_jax.training.resolved import Setup
from lm_jax.training.setup import set_up

LEDGER = "ledger.jsonl"
RECIPE, GIVEN, FACTS = "recipe.json", "given.py", "facts.json"


def freeze(recipe: Experiment, source: Path, folder: Path) -> tuple[dict, Setup]:
    """Copy a recipe and the file that it came from, and name both by digests.

    Args:
        recipe: as it will run, whatever its seed.
        source: the file.
        folder: that is made anew.

    Returns:
        What the ledger says of it, and what it resolves to.

    Raises:
        UserError: it can't be trained.
    """
    setup = set_up(recipe)
    files = {**save(recipe), GIVEN: source.read_bytes()}
    files[RECIPE] = files.pop("experiment.json")
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name, content in files.items():
        atomic_write(folder / name, content)
    facts = {
        "digest": digest(recipe),
        "files": {name: _sha256(content) for name, content in sorted(files.items())},
        "parameters": setup.parameters,
        "steps": setup.total,
        "tokens": setup.total * setup.units.tokens,
    }
    return facts, setup


def thaw(folder: Path, files: dict[str, str]) -> Experiment:
    """Read a frozen recipe, if all of it is as it was.

    Args:
        folder: that `freeze` wrote.
        files: the digests that it gave.

    Raises:
        UserError: a file was changed.
    """
    for name, known in files.items():
        path = folder / name
        if not path.is_file() or _sha256(path.read_bytes()) != known:
            raise UserError(
                f"{path} is not what was frozen (sha256 {known[:12]}...): put it back "
                "as it was. Another recipe is another proposal."
            )
    recipe = read(folder, RECIPE)
    assert isinstance(recipe, Experiment)
    return recipe


def place(contest: Path, proposal: int) -> Path:
    """The folder of a proposal; 0 is the contest's own recipe."""
    return contest / f"proposal{proposal}"


def frozen(contest: Path, proposal: int) -> Path:
    """The folder of its frozen recipe."""
    return place(contest, proposal) / "frozen"


def freeze_candidate(address: str, contest: Path, folder: Path) -> None:
    """Load a candidate's file, and freeze it if it may compete.

    The file is executed, so this is for a process of its own. What the ledger says of
    the candidate is left in the folder.

    Args:
        address: FILE.py or FILE.py:VARIANT.
        contest: its folder.
        folder: for the frozen copy.

    Raises:
        UserError: it can't be loaded or trained, or may not compete.
    """
    (own, *_) = proposals(Ledger(contest / LEDGER).entries())
    target = Contest(**own.frozen["contest"])
    base = thaw(frozen(contest, 0), own.frozen["files"])
    before = set(sys.modules)
    found = load(address)
    candidate = check(base, found.experiment, target)
    beside = sorted(
        outside_libraries(set(sys.modules) - before) - {found.path.resolve()}
    )
    if beside and own_kinds(candidate):
        raise UserError(
            f"{found.path} defines classes and imports {beside[0]}: put all that they "
            "need into the one file, so that what is frozen is all that runs."
        )
    facts, setup = freeze(refereed(base, candidate, target), found.path, folder)
    most = target.parameters
    if most is not None and setup.parameters > most:
        raise UserError(
            f"The candidate's model has {setup.parameters:,} parameters, and this "
            f"contest allows {most:,}."
        )
    atomic_write(folder / FACTS, json.dumps(facts))


def read_facts(folder: Path) -> dict[str, Any]:
    """What `freeze_candidate` left."""
    return dict(json.loads((folder / FACTS).read_text("utf-8")))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
