"""Where a run was made: versions, devices, flags, commit, command."""

import json
import os
import platform
import socket
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lm_jax.compiler import options_of
from lm_jax.files import atomic_write
from lm_jax.platform import devices as all_devices
from lm_jax.platform import precision_of
from lm_jax.processes import COMMAND, command
from lm_jax.runs.code import changes, own_code, read_starts

_PACKAGES = {
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "grain": "grain",
    "numpy": "numpy",
    "lm_jax": "lm-jax",
}


def environment() -> dict:
    """Everything around a run that its numbers can depend on.

    Starts jax's backend, if it is not started yet, to ask for the devices.
    What cannot be found out is None.
    """
    import jax

    devices = all_devices(several=True)
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "directory": os.getcwd(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "compiler": options_of(devices[0].device_kind),
        "processes": jax.process_count(),
        "versions": {"python": platform.python_version()}
        | {name: _version(package) for name, package in _PACKAGES.items()},
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
            or (name.startswith(("JAX_", "LM_JAX_")) and name != COMMAND)
        },
        "code": own_code(),
    }


def record_environment(
    run: Path, execution: Any = None, dtype: str = "float32"
) -> None:
    """Append where this process runs to `<run>/environment.json`.

    The file is a list with one entry for each time the run was started. Where the
    code differs from its commit, the diff is kept; once, however often it is
    started with the same code.

    Args:
        run: its directory.
        execution: how the experiment is computed this time, as JSON has it.
        dtype: that the model computes in.

    Raises:
        UserError: if the file is there and is not such a list.
    """
    starts = read_starts(run)
    made = {"precision": precision_of(dtype), "execution": execution}
    now = environment() | made
    before = starts[-1].get("code") if starts else None
    if before != now["code"]:
        now["changes"] = changes()
    text = json.dumps([*starts, now], indent=2, ensure_ascii=False)
    atomic_write(run / "environment.json", text + "\n")


# What a start says of itself, that no number depends on.
_IDLE = (
    "started",
    "command",
    "directory",
    "host",
    "code",
    "changes",
    "execution",
    "JAX_COMPILATION_CACHE_DIR",
)


def environment_differences(then: dict, now: dict) -> list[tuple[str, str, str]]:
    """Where two starts of runs differ in what numbers can depend on.

    Args:
        then, now: as environment.json has them, or `environment` gives them.

    Returns:
        Of each: its name, and both values in words.
    """
    flat = [_flattened(start) for start in (then, now)]
    names = [name for name in flat[0] | flat[1] if name not in _IDLE]
    pairs = [(name, *(side.get(name, "none") for side in flat)) for name in names]
    return [(name, a, b) for name, a, b in pairs if a != b]


def _flattened(start: dict) -> dict[str, str]:
    """The values of a start by their names: "jax" of the versions, "backend"."""
    found: dict[str, str] = {}
    for name, value in start.items():
        if isinstance(value, dict) and name not in _IDLE:
            found |= {key: str(inner) for key, inner in value.items()}
        else:
            words = value if isinstance(value, list) else [value]
            found[name] = ", ".join(map(str, words))
    return found


def changed_environment(run: Path) -> list[str]:
    """Say what is another here than in the starts of a run, each once.

    Raises:
        UserError: when environment.json is no list of starts.
    """
    now, found = environment(), []
    for start in read_starts(run):
        then = {name: value for name, value in start.items() if name in now}
        for name, a, b in environment_differences(then, now):
            if (said := f"{name}: {a} then, {b} now.") not in found:
                found.append(said)
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None


def _cores() -> int | None:
    """The cores that this process may use, which can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
