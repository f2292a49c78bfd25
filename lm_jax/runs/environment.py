"""Where a run was made: versions, devices, flags, commit, command."""

import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lm_jax.errors import UserError
from lm_jax.files import atomic_write
from lm_jax.platform import devices as all_devices
from lm_jax.platform import precision_of

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
        "commit": _commit(Path(__file__).resolve().parents[2]),
    }


def record_environment(
    run: Path, execution: Any = None, dtype: str = "float32"
) -> None:
    """Append where this process runs to `<run>/environment.json`.

    The file is a list with one entry for each time the run was started.

    Args:
        run: its directory.
        execution: how the experiment is computed this time, as JSON has it.
        dtype: that the model computes in.

    Raises:
        UserError: if the file is there and is not such a list.
    """
    path = run / "environment.json"
    try:
        starts = json.loads(path.read_text("utf-8")) if path.exists() else []
    except ValueError:
        starts = None
    if not isinstance(starts, list):
        raise UserError(f"{path} is damaged: mend it or move it away.")
    made = {"precision": precision_of(dtype), "execution": execution}
    starts.append(environment() | made)
    atomic_write(path, json.dumps(starts, indent=2, ensure_ascii=False) + "\n")


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


def _commit(root: Path) -> dict | None:
    """The git commit of the project and whether files differ from it.

    None without git, and where the project lies inside somebody else's
    repository (installed below a checkout): that commit would say nothing.
    """
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != root:
            return None
        return {
            "id": _git(root, "rev-parse", "HEAD"),
            "dirty": bool(_git(root, "status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=10
    )
    return answer.stdout.strip()
