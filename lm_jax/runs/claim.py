"""A run directory belongs to one recipe and one text."""

import json
from collections.abc import Callable
from pathlib import Path

from lm_jax.data import Prepared
from lm_jax.errors import UserError
from lm_jax.experiment import AnyExperiment, differences, own_source, read, save
from lm_jax.experiment.names import COPY
from lm_jax.files import atomic_write, read_whole
from lm_jax.runs.directory import folders_with

# Fields of a recipe that may change where the steps already made stay the same;
# whoever trains checks that.
EXTENDS = ("budget", "patience", "skip_bad_steps")


def claim(
    experiment: AnyExperiment,
    data: Prepared,
    run: Path,
    check: Callable[[AnyExperiment], None] = lambda before: None,
) -> AnyExperiment | None:
    """See that a run is this experiment's, and write what it keeps of it.

    Of several processes each looks, by `check_claim`, before one writes.
    """
    before = check_claim(experiment, data, run, check)
    keep_claim(experiment, data, run)
    return before


def check_claim(
    experiment: AnyExperiment,
    data: Prepared,
    run: Path,
    check: Callable[[AnyExperiment], None] = lambda before: None,
) -> AnyExperiment | None:
    """See that a run is this experiment's, or nobody's yet.

    Args:
        experiment: that is to be trained.
        data: its text.
        run: the directory.
        check: refuses what may change only under conditions (`EXTENDS`), by the
            experiment as it was.

    Returns:
        The experiment as it was, where the run had begun.

    Raises:
        UserError: with the differences, when another recipe is there.
    """
    if not (run / "experiment.json").exists():
        _check_empty(run, {*save(experiment), "data.json"})
        return None
    before = read(run)
    _check_recipe(before, experiment, run)
    check_data(data, run)
    check(before)
    return before


def keep_claim(experiment: AnyExperiment, data: Prepared, run: Path) -> None:
    """Write what a run keeps of its experiment, once `check_claim` has looked.

    Execution and notes may be others than they were: what is there now is written.

    Args:
        experiment: that is to be trained.
        data: its text.
        run: the directory.

    Raises:
        UserError: where it cannot be written.
    """
    for name, content in save(experiment).items():
        atomic_write(run / name, content)
    if not (run / "data.json").exists():
        about: dict = {"digest": data.digest, "text": data.text}
        # Of one text tokenizers may keep other bytes, which bits are divided by.
        scored = data.splits.get("validation")
        about |= {"bytes": scored.coded.bytes} if scored and scored.coded.bytes else {}
        about |= {"statement": data.statement.split("\n")}
        text = json.dumps(about, indent=2, ensure_ascii=False)
        atomic_write(run / "data.json", text + "\n")


def _check_empty(run: Path, kept: set[str]) -> None:
    """See that a directory that is to be a run is not another one's.

    What a shell wrote beside it is no harm.

    Raises:
        UserError: with what is there.
    """
    for above in run.absolute().parents:
        if (above / "experiment.json").exists():
            raise UserError(
                f"{run} lies in the run {above}, where none is found again. Give "
                "--run a directory beside it."
            )
    if inner := folders_with("experiment.json", run):
        names = ", ".join(str(path.relative_to(run)) for path in inner[:3])
        more = f" and {len(inner) - 3} more" if len(inner) > 3 else ""
        raise UserError(
            f"{run} holds runs ({names}{more}), which one around them would hide. "
            f"Give this one a directory of its own, such as --run {run}/more."
        )
    foreign = sorted(
        path.name
        for path in run.iterdir()
        if not path.name.startswith(".")
        and path.name not in kept
        and not (path.name == "checkpoints" and not any(path.iterdir()))
        and path.suffix not in (".log", ".out", ".err")
    )
    if foreign:
        raise UserError(
            f"{run} is no run, and not empty: it holds '{foreign[0]}'"
            f"{f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''}. Give "
            "--run a new directory."
        )


def _check_recipe(before: AnyExperiment, now: AnyExperiment, run: Path) -> None:
    changed = [
        each
        for each in differences(before, now)
        if each.part == "recipe" and each.name not in EXTENDS
    ]
    if changed:
        lines = "\n".join(f"  {name}: {a} there, {b} now" for name, a, b, _ in changed)
        raise UserError(
            f"{run} holds another experiment:\n{lines}\n"
            "Train this one elsewhere with --run DIRECTORY."
        )
    source = own_source(now)
    if source is not None and source != (run / COPY).read_bytes():
        raise UserError(
            f"The experiment's file defines kinds of value of its own, and it has "
            f"changed since {run} was begun. To go on with the code as it was, train "
            f"the copy that the run keeps: {run / COPY}. To train the new code, use "
            "--run DIRECTORY."
        )


def read_data(run: Path) -> dict:
    """What a run keeps of its text, as data.json has it; nothing where there is none.

    Raises:
        UserError: it can't be read, or is no such thing.
    """
    path = run / "data.json"
    if not path.exists():
        return {}
    try:
        return dict(json.loads(read_whole(path)).items())
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: mend it or move it away.") from error


def check_data(data: Prepared, run: Path, tokens: bool = True) -> None:
    """See that the text and its tokens are those that a run began with.

    Args:
        data: as it is now.
        run: its directory.
        tokens: whether the tokens are looked at too; where the run's own tokenizer
            made them, there is no need.

    Raises:
        UserError: with what they were, when they aren't.
    """
    if not (about := read_data(run)):
        return
    same = ("digest", data.digest) if tokens else ("text", data.text)
    if about.get(same[0]) != same[1]:
        lines = "\n".join(f"  {line}" for line in about.get("statement", []))
        raise UserError(
            f"{run} began with another text than there is now, or one that was split "
            f"otherwise. It was:\n{lines}\n"
            "Put it back as it was, or train on the new one with --run DIRECTORY."
        )
