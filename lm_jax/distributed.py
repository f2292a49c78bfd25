"""One run in several processes: who writes, where all meet, what must be alike.

Of one process all of this is nothing: it writes, it has met, it is alike.
"""

import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from lm_jax.errors import Lost, UserError

# Seconds that a wait may take, where nobody says.
DEADLINE = 600.0
_deadline = DEADLINE
_numbers = itertools.count()


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def writes() -> bool:
    """Whether this process writes the files of a run: of several, the first does."""
    return jax.process_index() == 0


def deadline() -> float:
    """The seconds that any wait for another process may take."""
    return _deadline


def set_deadline(seconds: float) -> None:
    """Say how many seconds any wait for another process may take."""
    global _deadline
    _deadline = seconds


def meet(name: str) -> None:
    """Wait until every process has come here.

    Args:
        name: of what they meet for, as messages have it.

    Raises:
        Lost: naming who didn't come before the deadline.
    """
    if several():
        _meet(_key(name), name)


def check_alike(
    name: str,
    known: Callable[[], Mapping[str, str]],
    advice: str = "Start all of them with the same files, versions and command.",
) -> None:
    """See that what processes know by the same names is the same for all of them.

    Args:
        name: of what is compared, as messages have it.
        known: gives what this process knows, by names. A name that another doesn't
            know is passed over: it has other parts of the parameters.
        advice: what to do where it isn't.

    Raises:
        UserError: naming a process that differs, and where; in all processes.
        Lost: one didn't come before the deadline.
    """
    if not several():
        return
    key, client = _key(name), _client()
    values = json.dumps(dict(known()))
    client.key_value_set(f"{key}/values/{jax.process_index()}", values)
    _meet(key, name)
    if writes():
        # All there is of it is read by one, however many there are.
        found = client.key_value_dir_get(f"{key}/values/")
        told = {int(k.rsplit("/", 1)[1]): json.loads(v) for k, v in found}
        client.key_value_delete(f"{key}/values")
        client.key_value_set(f"{key}/verdict", _difference(told))
    try:
        verdict = client.blocking_key_value_get(f"{key}/verdict", _milliseconds())
    except jax.errors.JaxRuntimeError as error:  # all have met, and the first is gone
        raise _lost(name, "0", error) from error
    if verdict:
        said = f"The processes of this run aren't alike ({name})."
        raise UserError(f"{said} {verdict} {advice}")


def _difference(told: Mapping[int, Mapping[str, str]]) -> str:
    """Say what a process knows otherwise than the first that knows it; "" if none."""
    first: dict[str, tuple[int, str]] = {}
    for process, values in sorted(told.items()):
        for name, value in values.items():
            before, known = first.setdefault(name, (process, value))
            if known != value:
                return (
                    f"Process {process} differs from process {before} in {name}: "
                    f"{_short(value, known)} there, {_short(known, value)} here."
                )
    return ""


def _short(value: str, other: str, most: int = 60) -> str:
    """A value, from shortly before where it differs from the other if it is long."""
    start = max(0, len(os.path.commonprefix([value, other])) - most // 2)
    if len(value) > most and start:
        value = "..." + value[start:]
    return value if len(value) <= most else value[: most - 3] + "..."


def publish(name: str, value: str) -> None:
    """Let the other processes know a value of this one, by a name of this moment."""
    where = f"lm_jax/{name}/{jax.process_index()}"
    _client().key_value_set(where, value, allow_overwrite=True)


def published(name: str) -> dict[int, str]:
    """What each process has let the others know by a name."""
    found = _read(f"lm_jax/{name}/")
    return {int(key.rsplit("/", 1)[1]): value for key, value in found}


def beside() -> int:
    """How many processes are on this one's machine, itself among them.

    Others count once all have met: see `taking_part`, where each says its own.
    """
    machines = published("machine") if several() else {}
    return max(1, list(machines.values()).count(socket.gethostname()))


def leave(code: int) -> None:
    """End a process that failed, if it is one of several.

    One that ends as usual would wait for all the others.
    """
    if not jax.distributed.is_initialized():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    # The others hear through the first what it is that went wrong. Not jax's own
    # question: where its devices failed to start, it would start them again.
    if _state().process_id == 0:
        time.sleep(1)
    os._exit(code)


def is_lost(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, says that another can't be reached."""
    of_service = ("coordination service", "CoordinationService")
    marks = ("Gloo", "NCCL", "Connection closed by peer", *of_service)
    kinds = (jax.errors.JaxRuntimeError, ValueError)
    while several() and error is not None:
        if isinstance(error, kinds) and any(mark in str(error) for mark in marks):
            return True
        error = error.__cause__ or error.__context__
    return False


def _meet(key: str, name: str) -> None:
    client = _client()
    client.key_value_set(f"{key}/here/{jax.process_index()}", "")
    try:
        client.wait_at_barrier(key, _milliseconds())
    except jax.errors.JaxRuntimeError as error:
        here = {int(k.rsplit("/", 1)[1]) for k, _ in _read(f"{key}/here/")}
        missing = sorted(set(range(jax.process_count())) - here)
        who = ", ".join(map(str, missing)) or "one that was late"
        raise _lost(name, who, error) from error


def _lost(name: str, who: str, error: Exception) -> Lost:
    """What is to be said where a wait for others has ended."""
    reason = str(error).split("\n")[0]
    return Lost(
        f"Process {jax.process_index()} waited {deadline():g} s for all to meet: "
        f"{name}. Missing: process {who} ({reason})."
    )


def _read(where: str) -> Any:
    try:
        return _client().key_value_dir_get(where)
    except jax.errors.JaxRuntimeError:  # nobody serves it any more
        return []


def _key(name: str) -> str:
    """A key that is the same in all processes, which meet in the same order."""
    return f"lm_jax/{next(_numbers)}/{name}"


def _milliseconds() -> int:
    return max(1, int(1000 * _deadline))


def _client() -> Any:
    return _state().client


def _state() -> Any:
    from jax._src import distributed

    return distributed.global_state
