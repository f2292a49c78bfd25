"""Experiments from files: what "FILE.py:VARIANT" names."""

import importlib.util
import os
import re
import shlex
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from lm_jax.errors import UserError, nearest
from lm_jax.experiment.value import AnyExperiment
from lm_jax.files import given_path, near, neighbour
from lm_jax.platform import called

BASE = "base"
_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_ROOT = Path(__file__).parents[2]
# Python's own files, those that were installed, and code without a file.
_LIBRARY = re.compile(
    f"^{re.escape(sysconfig.get_path('stdlib') + os.sep)}|^<|(site|dist)-packages"
)


@dataclass(frozen=True)
class Named:
    """An experiment, the names that its run directory is made of, its variants."""

    experiment: AnyExperiment
    name: str
    variant: str
    variants: tuple[str, ...] = ()
    path: Path = Path()

    @property
    def run(self) -> Path:
        """The directory of its run, where none is given."""
        return Path("runs") / self.name / self.variant / f"seed{self.experiment.seed}"


@dataclass(frozen=True)
class File:
    """What an experiment file defines.

    Attributes:
        path: of the file.
        experiments: "base" and its variants, by name.
        study: what it calls so, if anything; see `lm_jax.ablation.Study`.
        contest: the same; see `lm_jax.contest.Contest`.
    """

    path: Path
    experiments: dict[str, AnyExperiment]
    study: Any
    contest: Any


def load(address: str) -> Named:
    """Load "FILE.py" or "FILE.py:VARIANT".

    A relative file is looked for in the working directory and then beside the
    package, so that ``experiments/...`` works from anywhere.

    Raises:
        UserError: when the file, the experiment or the variant isn't there.
    """
    name, variant = parted(address)
    file = load_file(name)
    variants = tuple(each for each in file.experiments if each != BASE)
    if (variant or BASE) in file.experiments:
        variant = variant or BASE
        experiment = file.experiments[variant]
        return Named(experiment, file.path.stem, variant, variants, file.path)
    raise UserError(
        f"{file.path} has no variant '{variant}'." + nearest(variant, variants)
        if variants
        else f"{file.path} has no variants."
    )


def parted(address: str) -> tuple[str, str]:
    """Part "FILE.py:VARIANT"; a folder's name may have a colon too."""
    name, end, variant = address.partition(".py:")
    if end or name.endswith(".py"):
        return name + end.rstrip(":"), variant
    name, _, variant = address.partition(":")
    return name, variant


def load_file(name: str) -> File:
    """Load all experiments of a file, which is found as `load` finds it.

    Raises:
        UserError: when the file or its experiment isn't there.
    """
    path = _find(name)
    module = import_file(path)
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, AnyExperiment):
        raise UserError(
            f"{path} doesn't define 'experiment = Experiment(...)'. "
            "See experiments/gpt_shakespeare.py."
        )
    experiments = {BASE: experiment} | _variants(path, module)
    said = (getattr(module, name, None) for name in ("study", "contest"))
    return File(path, experiments, *said)


def _variants(path: Path, module: Any) -> dict[str, AnyExperiment]:
    """The variants of a file, each a whole experiment."""
    variants = getattr(module, "variants", {})
    if not isinstance(variants, dict):
        raise UserError(
            f"{path}: 'variants' is a {type(variants).__name__}; it must be a "
            "dictionary of experiments by name."
        )
    for name, value in variants.items():
        if name == BASE:
            raise UserError(
                f"{path}: the variant '{BASE}' would stand for the file's own "
                "'experiment', which is called so. Give it another name."
            )
        if not isinstance(name, str) or not _is_folder(name):
            raise UserError(
                f"{path}: the variant {name!r} names the folder of its runs: give a "
                "name in quotes, without / and without spaces around it."
            )
        if not isinstance(value, AnyExperiment):
            raise UserError(
                f"{path}: the variant '{name}' is a {type(value).__name__}; it must "
                "be a whole experiment, as replace(experiment, seed=1) makes."
            )
    return variants


def _is_folder(name: str) -> bool:
    """Whether a name is that of one folder, and is typed as it stands."""
    plain = name.isprintable() and name.strip() == name and "/" not in name
    return plain and name not in ("", ".", "..")


def _find(file: str) -> Path:
    for path in (given_path(file, "The experiment file"), _ROOT / file):
        if path.is_file():
            return path
    path = given_path(file, "The experiment file")
    if (path / "experiment.json").is_file():
        raise UserError(
            f"{file} is a run, and no experiment file. To go on with it: {called()} "
            f"train {_begun_with(path)} --run {shlex.quote(file)}"
        )
    asked = path if path.is_dir() else path.parent
    names = {str(p) for folder in (asked, Path("experiments")) for p in _files(folder)}
    names |= {f"experiments/{p.name}" for p in _files(_ROOT / "experiments")}
    hint = nearest(file, names) if names else ""
    if close := neighbour(path):
        hint = close + hint[hint.find(" There is:") :]
    if file.startswith("-"):
        hint = " The file comes first, then its options."
    raise UserError(f"There is no experiment file '{file}'.{hint}")


def _files(folder: Path) -> Iterable[Path]:
    """The Python files of a folder that may hold experiments: none is a test."""
    kept = (p for p in folder.glob("*.py") if not p.name.startswith(("_", "test_")))
    return sorted(kept)[:50]


def _begun_with(run: Path) -> str:
    """The file and variant that a run was begun with, where its place tells them."""
    *_, name, variant, seed = ("", "", *run.absolute().parts)
    files = (Path(f"{name}.py"), Path(f"experiments/{name}.py"))
    own = next((str(f) for f in files if f.is_file() or (_ROOT / f).is_file()), "")
    if not own or not re.fullmatch(r"seed\d+", seed):
        return "FILE[:VARIANT]"
    return own if variant == "base" else f"{own}:{variant}"


class _AsItStands(SourceFileLoader):
    """Compiles a file each time that it is loaded.

    Python takes what it compiled before where size and time of a file, to the second,
    are as they were: a recipe that was changed twice in a second would be an old one.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Compile what stands in the file now; nothing is kept of it."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def import_file(path: Path) -> Any:
    """Import an experiment file, under a name that leads back to it.

    Raises:
        UserError: an error in it, with the lines that led there.
    """
    if path.suffix != ".py":
        raise UserError(f"{path} is not a Python file.")
    name = f"experiment_{path.stem}"
    loader = _AsItStands(name, str(path.resolve()))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {_named(error)}") from error
    except SystemExit as error:
        raise UserError(f"{path} ends the program: {_named(error)}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.lineno for f in frames if f.filename == str(path.resolve())]
        where = f"{path}, line {own[-1]}" if own else str(path)
        raise UserError(f"{where}: {_named(error)}") from error
    return module


def _named(error: BaseException) -> str:
    """An error with its kind, which a message for users does without."""
    if isinstance(error, UserError):
        return str(error)
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}"


def outside_libraries(modules: Iterable[str]) -> set[Path]:
    """The files of modules that are neither Python's, nor installed, nor lm_jax's."""
    files = (getattr(sys.modules[name], "__file__", None) for name in modules)
    return {
        Path(file)
        for file in files
        if file and not file.startswith(_PACKAGE) and not _LIBRARY.search(file)
    }


def own_fault(error: Exception) -> UserError | None:
    """Say which lines of a user's own file raised an error.

    Those of libraries and of Python are left out. None where the error arose in
    lm_jax itself, or in what it called.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not _LIBRARY.search(frame.filename)
    ]
    if not frames or frames[-1].filename.startswith(_PACKAGE):
        return None
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)]
    said = f"{near(own[-1].filename)}, line {own[-1].lineno}: {_named(error)}"
    lines = [
        f"  {near(frame.filename)}, line {frame.lineno}, in {frame.name}:\n"
        f"    {frame.line}"
        for frame in own
    ]
    return UserError("\n".join([said, *lines]))
