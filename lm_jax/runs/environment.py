"""Where a run was made: versions, devices, flags, commit, command."""

import json
import os
import platform
import shlex
import socket
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lm_jax.files import atomic_write
from lm_jax.platform import devices as all_devices
from lm_jax.platform import precision_of
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

    devices = all_devices()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "directory": os.getcwd(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "processes": jax.process_count(),
        "versions": {"python": platform.python_version()}
        | {name: _version(package) for name, package in _PACKAGES.items()},
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
            or name.startswith(("JAX_", "LM_JAX_"))
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
