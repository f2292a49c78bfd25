"""Checkpoints: asynchronous, atomic, checked when they are read.

Orbax writes each one into a temporary folder and renames it when it is whole.
Before that rename the digest of every file goes beside the files, so that a
checkpoint that was cut or changed later is refused by name.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict

from lm_jax.distributed import writes
from lm_jax.errors import UserError
from lm_jax.runs.base import adapted_steps, check_whole, completed, without
from lm_jax.runs.sealed import DIGESTS, seal, verify

_TEMPORARY = ".orbax-checkpoint-tmp"
# Bytes for what stands beside the arrays in a checkpoint.
_SPARE = 1_000_000


def has_checkpoint(run: Path) -> bool:
    """Whether a run goes on from what it has learnt, readable or not.

    One that was killed while it saved its first checkpoint has none: it begins anew.
    """
    return bool(steps_of(run))


def steps_of(run: Path) -> list[int]:
    """Steps of the checkpoints of a run, in order, readable or not."""
    return sorted(int(p.name) for p in run.glob("checkpoints/*") if p.name.isdigit())


def check_name(directory: Path) -> None:
    """Refuse a folder in which checkpoints would be written that can't be read.

    Orbax looks for the parts of one by a pattern that begins with its folder's name.

    Raises:
        UserError: naming the part that is a pattern.
    """
    for part in directory.absolute().parts:
        if re.search(r"[*?]|\[.+\]", part):
            raise UserError(
                f"'{part}', of {directory}, is a pattern to what writes checkpoints, "
                "which could not be read again. Choose a name without [...], * and ?."
            )


class _LastAndBest:
    """Orbax's preservation policy: the last n and the one that scored best.

    And of those that are saved every so many steps, the last that are averaged; and
    those that adapters of other runs stand on.
    """

    def __init__(self, run: Path, last: int, every: int, averaged: int):
        self.run, self.last, self.every, self.averaged = run, last, every, averaged
        self.best: tuple[int, ...] = ()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any):
        steps = sorted(info.step for info in checkpoints)
        spaced = [step for step in steps if step % self.every == 0]
        first = max(0, len(spaced) - self.averaged)
        kept = {*steps[-self.last :], *spaced[first:], *self.best}
        kept |= adapted_steps(self.run)
        return [info.step in kept for info in checkpoints]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: where each has a folder named by its step.
        keep: how many of the last are kept beside the best.
        every: steps between evaluations that are watched.
        averaged: how many of their checkpoints are kept, to be averaged.
        left: arrays that lie elsewhere, by the paths of the parameters that they are:
            what is saved has none of them, and what is read has all.
    """

    def __init__(
        self,
        directory: Path,
        keep: int = 2,
        every: int = 1,
        averaged: int = 0,
        left: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.directory, self.left, self.every = directory.absolute(), left, every
        self._unsealed: set[str] = set()
        self._policy = _LastAndBest(directory.parent, keep, every, averaged)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._policy,
            async_options=ocp.options.AsyncOptions(
                post_finalization_callback=self._seal
            ),
        )
        with _disk_errors(self.directory):
            self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """Steps that have a whole checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, params: Any, rest: Any, progress: dict, *best: int
    ) -> None:
        """Begin to save; the disk is written while training goes on.

        Args:
            step: names the checkpoint.
            params: what a model needs to be used: items by name, each a tree of
                arrays, that can be read without the rest.
            rest: what training needs beside them: any tree of arrays.
            progress: what JSON can hold.
            best: steps whose checkpoints are to be kept for their score.

        Raises:
            UserError: when this or the save before it could not be written, or could
                not be read again.
        """
        check_name(self.directory)
        if step in self.steps():
            return
        self._policy.best = best
        own = {name: without(tree, self.left) for name, tree in params.items()}
        trees = {**own, "rest": rest}
        self._check_room(trees)
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        self._unsealed.add(str(step))
        with _disk_errors(self.directory):
            self._manager.save(
                step,
                args=ocp.args.Composite(progress=ocp.args.JsonSave(progress), **items),
            )

    def wait(self) -> None:
        """Return when all that was saved is on the disk."""
        with _disk_errors(self.directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of Orbax's threads."""
        self.wait()
        self._manager.close()

    def choose(self, step: int | None = None) -> int:
        """Give a step that has a checkpoint: the one asked for, or the best.

        The best is the one that the last checkpoint knows as such.

        Raises:
            UserError: when there is none, or it can't be read.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"{self.directory.parent} has no checkpoint yet.")
        if step is not None and step not in steps:
            raise UserError(
                f"{self.directory.parent} has checkpoints of steps {steps}, none of "
                f"{step}."
            )
        if step is not None:
            return step
        verify(self.directory / str(steps[-1]), ("progress",))
        best = self._read(steps[-1], progress=ocp.args.JsonRestore()).progress["best"]
        return best if best in steps else steps[-1]

    def items(self, step: int) -> list[str]:
        """The names of what a checkpoint holds."""
        folder = self.directory / str(step)
        return sorted(path.name for path in folder.iterdir() if path.is_dir())

    def restore(self, step: int, like: dict[str, Any]) -> tuple[dict[str, Any], dict]:
        """Read items of a checkpoint onto whatever devices ``like`` names.

        Args:
            step: which.
            like: of each item, its shapes, types and shardings.

        Returns:
            The items, and the progress.

        Raises:
            UserError: when it is missing, incomplete, changed since it was
                written, or of another experiment. Nothing is deleted.
        """
        # Of several processes one reads all of it; each, only what it needs.
        verify(self.directory / str(step), None if writes() else ())
        for item in like.keys() - {"rest"}:
            self._held(step, item)
        progress = ocp.args.JsonRestore()
        own = {name: self._own(tree, name) for name, tree in like.items()}
        found = self._read(step, progress=progress, **own)
        params = {n: self.whole(found[n], like[n]) for n in like if n != "rest"}
        return {name: found[name] for name in like} | params, found.progress

    def restore_params(self, step: int) -> Any:
        """Read the parameters to use onto a device: the average where one was kept.

        Nothing else is read, and nothing need be known of them.

        Raises:
            UserError: as `restore`.
        """
        folder = self.directory / str(step)
        verify(folder, ())
        item = self._used(step)
        verify(folder, (item,))
        place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            self._held(step, item),
        )
        reader = ocp.StandardCheckpointHandler()
        own = reader.restore(folder / item, args=ocp.args.StandardRestore(like))
        return completed(own, jax.device_put(dict(self.left), place))

    def size(self, step: int) -> int:
        """Bytes of the files of the parameters to use."""
        files = (self.directory / str(step) / self._used(step)).rglob("*")
        return sum(path.stat().st_size for path in files if path.is_file())

    def _used(self, step: int) -> str:
        """The item that has the parameters to use."""
        return "average" if "average" in self.items(step) else "params"

    def read_params(self, step: int, like: Any) -> Any:
        """Read the parameters of a step, averaged or not, and nothing else.

        Args:
            step: which.
            like: their shapes, types and shardings.

        Raises:
            UserError: as `restore`.
        """
        verify(self.directory / str(step), ("params",))
        return self.whole(self._read(step, params=self._own(like)).params, like)

    def _held(self, step: int, item: str) -> dict:
        """The shapes of what was saved of an item.

        Raises:
            UserError: it was saved without its base, and that isn't known.
        """
        folder = self.directory / str(step) / item
        held = dict(ocp.StandardCheckpointHandler().metadata(folder))
        check_whole(self.directory.parent, {*flatten_dict(held, sep="/"), *self.left})
        return held

    def whole(self, params: Any, like: Any) -> Any:
        """Put what lies elsewhere into parameters, on the devices of ``like``."""
        places = flatten_dict(like, sep="/") if self.left else {}
        left = {k: jax.device_put(a, places[k].sharding) for k, a in self.left.items()}
        return completed(params, left)

    def _own(self, like: Any, item: str = "params") -> Any:
        """What Orbax is asked for: what of an item was saved."""
        kept = like if item == "rest" else without(like, self.left)
        return ocp.args.StandardRestore(kept)

    def _read(self, step: int, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise UserError(
                f"The checkpoint {self.directory / str(step)} is whole but doesn't fit "
                f"this experiment: {str(error).splitlines()[0]}"
            ) from error

    def _check_room(self, state: Any) -> None:
        """See that the disk has room, before Orbax begins to write.

        Raises:
            UserError: with what is needed and what there is.
        """
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self.directory).free
        if free < needed + _SPARE:
            raise UserError(
                f"The disk of {self.directory} is full: a checkpoint needs "
                f"{(needed + _SPARE) / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free. "
                "Earlier checkpoints are whole. Make room and start again: the run "
                "goes on from the last of them."
            )

    def _seal(self) -> None:
        """Write digests into what was saved here; one that lost them is damaged."""
        if not writes():
            return
        for folder in self.directory.iterdir():
            step = folder.name.removesuffix(_TEMPORARY)
            if step in self._unsealed and not (folder / DIGESTS).exists():
                seal(folder)
                self._unsealed.remove(step)


def read_progress(folder: Path) -> dict:
    """What a checkpoint keeps of the training; "best" is the step of the best one.

    Raises:
        UserError: it is incomplete or damaged.
    """
    verify(folder, ("progress",))
    path = folder / "progress" / "metadata"
    try:
        found = json.loads(path.read_text("utf-8"))
        return {"best": found["best"], **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} can't be read: {error!r}.") from error


class _disk_errors:
    """Turn a full or read-only disk into one sentence that names the folder."""

    def __init__(self, directory: Path):
        self.directory = directory

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            return
        text = str(error)
        code = getattr(error, "errno", None)
        if code == errno.ENOSPC or "RESOURCE_EXHAUSTED" in text:
            raise UserError(
                f"The disk of {self.directory} is full: the checkpoint was not "
                "saved, and earlier ones are whole. Make room and start again: "
                "the run goes on from its last checkpoint."
            ) from error
        if code in (errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"Checkpoints can't be written to {self.directory}: "
                f"{os.strerror(code)}."
            ) from error
