"""An experiment as JSON, which names its kinds of value, and rebuilt from it.

A kind is named as its room exports it ("lm_jax.models.Transformer"), never by the
file that it happens to lie in, and nothing else can be named: "experiment.NAME" is
of the experiment's own file, of which a run keeps a copy.
"""

import dataclasses
import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.core import FrozenDict

from lm_jax.errors import UserError, nearest
from lm_jax.experiment.comparing import own_kinds
from lm_jax.experiment.leaves import fields
from lm_jax.experiment.loading import import_file
from lm_jax.experiment.value import AnyExperiment

FORMAT = 4
COPY = "experiment.py"
# The rooms whose public names an experiment can be made of.
ROOMS = (
    "text",
    "tokenizers",
    "data",
    "models",
    "counting",
    "objectives",
    "schedules",
    "optimizers",
    "adapting",
    "averages",
    "sharding",
    "generation",
    "evaluation",
    "experiment",
)


def public_kinds() -> dict[str, Any]:
    """Every kind of value that a room exports, by its public name."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(f"lm_jax.{room}")
        for name, kind in vars(module).items():
            here = isinstance(kind, type) and kind.__module__.startswith(
                module.__name__
            )
            if here and dataclasses.is_dataclass(kind) and not name.startswith("_"):
                found[f"lm_jax.{room}.{name}"] = kind
    return found


def to_json(value: Any) -> Any:
    """Turn a value into what ``json`` can write; each dataclass keeps its type.

    Raises:
        UserError: a kind is exported neither by lm_jax nor by the experiment's file.
    """
    names = {kind: name for name, kind in public_kinds().items()}

    def written(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            name = names.get(type(value)) or _own_name(type(value))
            body = {f.name: written(getattr(value, f.name)) for f in fields(value)}
            return {"type": name} | body
        if isinstance(value, Mapping):
            return {key: written(entry) for key, entry in value.items()}
        if isinstance(value, tuple | list):
            return [written(item) for item in value]
        return value

    return written(value)


def _own_name(kind: type) -> str:
    if kind.__module__.startswith("experiment_") and "." not in kind.__qualname__:
        return f"experiment.{kind.__qualname__}"
    raise UserError(
        f"{kind.__module__}.{kind.__qualname__} is a kind of value that lm_jax does "
        "not export. Define it in the experiment's own file, at its top level: then a "
        "run keeps a copy of it."
    )


def from_json(document: Any, own: Any = None) -> Any:
    """Rebuild the value that `to_json` wrote.

    Args:
        document: of JSON.
        own: the module of the experiment's own file, if it was imported.

    Raises:
        UserError: when a type or a field is no longer there.
    """
    public = public_kinds()

    def rebuilt(document: Any) -> Any:
        if isinstance(document, list):
            return tuple(rebuilt(item) for item in document)
        if not isinstance(document, dict):
            return document
        body = {k: rebuilt(v) for k, v in document.items() if k != "type"}
        if "type" not in document:
            return FrozenDict(body)
        name = str(document["type"])
        kind = public.get(name) or _own_kind(name, own)
        if kind is None:
            raise UserError(
                f"The experiment was written with a '{name}', which lm_jax does not "
                f"export.{nearest(name, public).split(' There is:')[0]}"
            )
        try:
            return kind(**body)
        except TypeError as error:
            raise UserError(
                f"The experiment was written with a '{name}' that this version can't "
                f"rebuild: {error}."
            ) from error

    return rebuilt(document)


def _own_kind(name: str, own: Any) -> Any:
    if own is None or not name.startswith("experiment."):
        return None
    kind = getattr(own, name.removeprefix("experiment."), None)
    mine = isinstance(kind, type) and kind.__module__ == own.__name__
    return kind if mine and dataclasses.is_dataclass(kind) else None


def save(experiment: AnyExperiment) -> dict[str, bytes]:
    """What a run keeps of an experiment: files by name.

    experiment.json, and a copy of the experiment's own file where that defines kinds
    of its own.

    Raises:
        UserError: as `to_json`; two files define kinds.
    """
    document: dict[str, Any] = {"format": FORMAT, "experiment": to_json(experiment)}
    files = {}
    if source := own_source(experiment):
        files[COPY] = source
        document["file"] = {"name": COPY, "sha256": _sha256(source)}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return files | {"experiment.json": text.encode()}


def own_source(experiment: AnyExperiment) -> bytes | None:
    """The experiment's own file, where it defines kinds of its own.

    Raises:
        UserError: two files do.
    """
    files = {Path(inspect.getfile(kind)) for kind in own_kinds(experiment)}
    if len(files) > 1:
        raise UserError(
            "The experiment has kinds of value from several files: "
            f"{', '.join(sorted(map(str, files)))}. Define them all in its own file."
        )
    return files.pop().read_bytes() if files else None


def own_module(experiment: AnyExperiment) -> Any:
    """The module of the experiment's own file; None where it defines no kinds."""
    own = own_kinds(experiment)
    return sys.modules[own[0].__module__] if own else None


def read(folder: Path, name: str = "experiment.json") -> AnyExperiment:
    """Rebuild the experiment of a run; its copy of the own file is executed.

    Args:
        folder: of the run.
        name: of the file there that `save` called experiment.json.

    Raises:
        UserError: it can't be read, is of another format, or the copy was changed.
    """
    path = folder / name
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    found = document.get("format", 1) if isinstance(document, dict) else None
    if found not in (3, FORMAT):
        raise UserError(
            f"{path} has format {found}, and this version of lm_jax reads format 3 and "
            f"{FORMAT}. The version that wrote it is named in environment.json there "
            "(commit): use that one, or train again."
        )
    own = None
    if file := document.get("file"):
        own = _import_copy(folder / COPY, file["sha256"])
    written = document["experiment"]
    return from_json(_from_format_3(written) if found == 3 else written, own)


def _from_format_3(document: Any) -> Any:
    """What format 3 wrote, in the words of format 4.

    A plateau's patience counted the evaluation that cuts too, and the rates of an
    optimizer multiplied its decay.
    """
    if isinstance(document, list):
        return [_from_format_3(item) for item in document]
    if not isinstance(document, dict):
        return document
    body = {name: _from_format_3(item) for name, item in document.items()}
    kind = str(body.get("type"))
    if kind == "lm_jax.schedules.ReduceOnPlateau":
        body["patience"] = max(0, body["patience"] - 1)
    if kind.startswith("lm_jax.optimizers."):
        body["rated_decay"] = True
    return body


def _import_copy(copy: Path, sha256: str) -> Any:
    """Import a run's copy of an experiment file, if it is what was written."""
    try:
        source = copy.read_bytes()
    except OSError as error:
        raise UserError(f"{copy} can't be read: {error.strerror}.") from error
    if _sha256(source) != sha256:
        raise UserError(
            f"{copy} is not the file that the run was begun with: its sha256 is "
            f"{_sha256(source)[:12]}..., not {sha256[:12]}.... It holds code that "
            "would be executed: put it back as it was."
        )
    return import_file(copy)


def _sha256(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()
