"""The parameters that a run of adapters leaves where it found them.

They are another run's, or a Hugging Face folder's. The run names that one, and a
digest of its parameters, and reads it again whenever it is opened.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from lm_jax.adapting import unaccompanied
from lm_jax.errors import UserError
from lm_jax.experiment import FromHuggingFace, FromRun, Initial
from lm_jax.files import atomic_write, near, neighbour
from lm_jax.runs.learnt import There, read_there, renamed

BASE = "base.json"
# In a base: a file for each step that adapters need, which is kept for them.
_ADAPTED = "adapted"


@dataclass(frozen=True)
class Base:
    """What a run needs of another's parameters.

    Attributes:
        where: the other lies, from the run's own directory.
        step: of its checkpoint; None of a folder.
        parameters: a digest of all that it has.
        left: paths of those, in this run, that are read there.
    """

    where: str
    step: int | None
    parameters: int
    left: tuple[str, ...]

    def source(self, run: Path, initial: Initial) -> FromRun | FromHuggingFace:
        """Say where a run's base lies now, as what it began with.

        Raises:
            UserError: it is neither where it lay, seen from the run, nor where the
                experiment says.
        """
        assert isinstance(initial, FromRun | FromHuggingFace)
        given = initial.run if isinstance(initial, FromRun) else initial.path
        places = [near(Path(os.path.normpath(run / self.where))), Path(given)]
        there = next((str(place) for place in places if place.exists()), None)
        if there is None:
            looked = " nor ".join(dict.fromkeys(map(str, places)))
            raise UserError(
                f"{near(run)} holds adapters, and their base is gone: {self._named()} "
                f"is not at {looked}.{neighbour(places[0])} Put it back, or write in "
                f"{near(run / BASE)}, as 'base', where it lies."
            )
        if isinstance(initial, FromRun):
            return replace(initial, run=there, step=self.step)
        return replace(initial, path=there)

    def check(self, run: Path, there: There | None) -> None:
        """See that a base has the parameters that it had.

        Raises:
            UserError: it has others.
        """
        assert there is not None
        if (now := there.digest()) != self.parameters:
            raise UserError(
                f"{near(run)} holds adapters of {self._named()}. In "
                f"{near(there.where)} they are {now:08x} now. Put that back as it was, "
                f"or write in {near(run / BASE)}, as 'base', where the base lies."
            )

    def _named(self) -> str:
        of = "" if self.step is None else f" of checkpoint {self.step}"
        return f"'{self.where}' with the parameters {self.parameters:08x}{of}"


def read_base(run: Path) -> Base | None:
    """What a run left with its base; None where it stands alone.

    Raises:
        UserError: it can't be read.
    """
    path = run / BASE
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        left = tuple(map(str, kept["left"]))
        return Base(str(kept["base"]), kept["step"], int(kept["parameters"], 16), left)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read: {error!r}.") from error


def check_whole(run: Path, paths: Iterable[str]) -> None:
    """See that the matrices that a run's adapters change are known.

    Args:
        run: its directory.
        paths: of its parameters, with those that are left with a base.

    Raises:
        UserError: they are not, as the file that says where they lie is gone.
    """
    if missing := unaccompanied(paths):
        raise UserError(
            f"{near(run)} holds adapters without what they change, {missing[0]} for "
            f"one, and {near(run / BASE)}, which says where that lies, is gone. Put "
            "the file back as it was, or train the run anew in another directory."
        )


def keep_base(run: Path, there: There | None, left: Sequence[str]) -> None:
    """Write what a run leaves with its base, and ask that to keep the checkpoint.

    Raises:
        UserError: where it cannot be written.
    """
    if there is None or not left or (run / BASE).exists():
        return
    where = os.path.relpath(there.where.resolve(), run.resolve())
    kept = {"base": where, "step": there.step, "parameters": f"{there.digest():08x}"}
    text = json.dumps(kept | {"left": list(left)}, indent=1, ensure_ascii=False)
    if there.step is not None:
        # A base that can't be written is not one that is trained on.
        with suppress(OSError):
            (there.where / _ADAPTED).mkdir(exist_ok=True)
            (there.where / _ADAPTED / str(there.step)).touch()
    atomic_write(run / BASE, text + "\n")


def adapted_steps(run: Path) -> set[int]:
    """Steps of a run that adapters stand on: their checkpoints are kept."""
    names = (path.name for path in run.glob(f"{_ADAPTED}/*"))
    return {int(name) for name in names if name.isdigit()}


def read_left(run: Path, initial: Any) -> dict[str, Any]:
    """Read the parameters that a run left with its base; none where it stands alone.

    Args:
        run: its directory.
        initial: of its experiment.

    Returns:
        float32 arrays by their paths in the run.

    Raises:
        UserError: the base is gone, can't be read, or has other parameters.
    """
    base = read_base(run)
    if base is None:
        return {}
    there = read_source(run, base, initial)
    arrays = dict(renamed(initial, there))
    return {path: arrays[path] for path in base.left}


def read_source(run: Path, base: Base, initial: Any) -> There:
    """Read a run's base, and see that it is what it was.

    Raises:
        UserError: it is gone, can't be read, or has other parameters.
    """
    source = base.source(run, initial)
    try:
        there = read_there(source)
    except UserError as error:
        raise UserError(f"{near(run)} holds adapters. Their base: {error}") from error
    base.check(run, there)
    return there


def without(params: Any, left: Mapping[str, Any]) -> Any:
    """Give parameters without those that are left with a base."""
    if not left:
        return params
    kept = flatten_dict(params, sep="/")
    return unflatten_dict({k: v for k, v in kept.items() if k not in left}, sep="/")


def completed(params: Any, left: Mapping[str, Any]) -> Any:
    """Put the parameters of a base beside a run's own."""
    if not left:
        return params
    return unflatten_dict(flatten_dict(params, sep="/") | dict(left), sep="/")
