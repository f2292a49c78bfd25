"""All processes find each other before jax starts in any of them.

jax's own start ends a process that waited in vain by a crash that doesn't say for
whom. Here the first process waits at the coordinator's address, which jax takes over
from it, and whoever came in vain is told who did not. Their connections stay.
"""

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lm_jax.errors import UserError
from lm_jax.scaling.place import Place, is_loopback

_PAUSE = 0.1  # seconds between two tries to reach the first process
# What is said at the port, and what the first process answers.
_COMES = {"process": int, "processes": int, "host": str}
_ANSWERS = {"fault": str}


def rendezvous(place: Place) -> dict[int, socket.socket]:
    """Wait until all processes of a run are there.

    Args:
        place: of this process.

    Returns:
        Connections, by the index of who is at their other end: of the first process to
        all others, of another to the first. Whatever a process dies of, its end.

    Raises:
        UserError: one didn't come in time: who; two have the same index; they were
            told of different numbers of processes.
    """
    end = time.monotonic() + place.timeout
    met: dict[int, socket.socket] = {}
    fault = (_gather if place.process == 0 else _join)(place, end, met)
    if fault:
        for other in met.values():
            other.close()
        raise UserError(f"Process {place.process} of {place.processes}: {fault}")
    return met


def _gather(place: Place, end: float, here: dict[int, socket.socket]) -> str:
    """Be the first process: wait for the others, and tell them how it went."""
    try:
        listening = _listen(place.port)
    except OSError as error:
        return (
            f"port {place.port} of the coordinator can't be opened here "
            f"({error.strerror}). Give another --coordinator HOST:PORT."
        )
    fault = ""
    with listening:
        while not fault and len(here) < place.processes - 1:
            try:
                listening.settimeout(max(0.0, end - time.monotonic()) or 1e-3)
                came = listening.accept()[0]
            except TimeoutError:
                fault = _missing(place, set(here))
                break
            fault = _greet(place, came, here, end)
            if came not in here.values():
                came.close()
    for other in here.values():
        tell(other, {"fault": fault})
    return fault


def _greet(
    place: Place, came: socket.socket, here: dict[int, socket.socket], end: float
) -> str:
    """Take in who came; say what is wrong with it, or ""."""
    came.settimeout(max(0.1, min(5.0, end - time.monotonic())))
    told = hear(came, _COMES)
    # Somebody else's, or one that died: it may come again.
    if told is None or not 0 <= told["process"] < told["processes"]:
        return ""
    process, many, host = told["process"], told["processes"], told["host"]
    if many != place.processes:
        fault = (
            f"process {process} on {host} was told of {many} processes, and process 0 "
            f"of {place.processes}."
        )
    elif process == 0 or process in here:
        fault = f"there are two with the index {process}, one of them on {host}."
    else:
        here[process] = came
        return ""
    tell(came, {"fault": fault})
    return fault


def _missing(place: Place, here: set[int]) -> str:
    missing = sorted(set(range(1, place.processes)) - here)
    names = ", ".join(map(str, missing))
    return (
        f"waited {place.timeout:g} s at {place.coordinator}, and process {names} "
        "didn't come. See its log; a longer wait is --timeout SECONDS."
    )


def _join(place: Place, end: float, met: dict[int, socket.socket]) -> str:
    """Be another process: find the first one, and hear how it went."""
    reason = "nobody answers"
    about: dict[str, Any] = {"process": place.process, "processes": place.processes}
    about["host"] = socket.gethostname()
    while (left := end - time.monotonic()) > 0:
        try:
            first = socket.create_connection((place.host, place.port), left)
            tell(first, about)
            # It may wait as long as we have, and then says who is missing.
            first.settimeout(left + 5.0)
            if (told := hear(first, _ANSWERS)) is not None:
                met[0] = first
                return str(told["fault"])
            first.close()
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(_PAUSE)
    own = " That address is each host's own: give the name of the host of process 0."
    return (
        f"process 0 can't be reached at {place.coordinator} in {place.timeout:g} s "
        f"({reason}). See its log; a longer wait is --timeout SECONDS."
        f"{own if is_loopback(place.host) else ''}"
    )


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True
        )
    return socket.create_server(("", port))


def tell(other: socket.socket, value: Mapping[str, Any]) -> None:
    """Say a line to another process; whether it is still there shows elsewhere."""
    with suppress(OSError):
        other.sendall(json.dumps(value).encode() + b"\n")


def hear(other: socket.socket, kinds: Mapping[str, type]) -> dict[str, Any] | None:
    """The line that the other says; None where it says none that is ours.

    Args:
        other: is connected.
        kinds: of the values of such a line, by their names.
    """
    line = b""
    try:
        # One by one: what comes after this line is for who hears the next.
        while not line.endswith(b"\n") and len(line) < 10_000:
            if not (more := other.recv(1)):
                return None
            line += more
        found = json.loads(line)
        ours = isinstance(found, dict) and all(
            type(found.get(name)) is kind for name, kind in kinds.items()
        )
        return found if ours else None
    except (OSError, ValueError):
        return None
