"""A machine of fake interpreters, for launch.sh to run on."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LAUNCH = Path(__file__).parents[1] / "launch.sh"
TOOLS = "cat cp echo find grep mkdir mv pwd readlink rm sed sh sleep tail touch tr"

# A Python that answers launch.sh's questions as the real one would, with
# another version; makes an environment by copying itself; and as the
# environment's Python prints how it was called.
FAKE = """#!/bin/sh
case $1 in
  -c)
    [ $# -gt 2 ] && exec {real} "$@"  # the lock
    exec {real} -c "import sys; sys.executable = '$0'
sys.version_info = ({commas}, 'final', 0); {spoil}
$2" ;;
  -P)
    [ "$4" = wait ] || {{ printf '[%s]' "$@" "$PWD"; exit "${{STATUS:-0}}"; }}
    trap 'exit 42' TERM
    echo waiting
    while :; do sleep 0.05; done ;;
esac
echo "{version} $*" >>{calls}
case $2 in
  venv) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  pip)
    [ -z "$PIP_TAKES" ] || sleep "$PIP_TAKES"
    [ -z "$PIP_FAILS" ] || {{ echo 'ERROR: no network' >&2; exit 1; }} ;;
esac
"""
SHIM = "#!/bin/sh\necho 'command not found; it exists in: 3.12' >&2\nexit 127\n"


@dataclass
class Machine:
    """A machine with nothing on it but a copy of launch.sh and a few tools."""

    folder: Path
    told: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "the project"

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def install(self, name: str, version: str, kind: str = "works") -> Path:
        """Put a Python into bin/, or pyenv's folder when the name is 'pyenv'."""
        path = self.folder / "bin" / name
        if name == "pyenv":
            path = self.folder / "pyenv/versions" / version / "bin/python"
            path.parent.mkdir(parents=True)
        spoil = {
            "no ensurepip": "sys.modules['ensurepip'] = None",
            "free-threaded": "import sysconfig; "
            "sysconfig.get_config_var = {'Py_GIL_DISABLED': 1}.get",
        }
        text = FAKE.format(
            real=sys.executable,
            version=version,
            commas=version.replace(".", ", "),
            spoil=spoil.get(kind, ""),
            calls=self.folder / "calls",
        )
        path.write_text(SHIM if kind == "shim" else text)
        path.chmod(0o755)
        return path

    def start(self, *args: str, command=None, cwd=None, **env) -> subprocess.Popen:
        return subprocess.Popen(
            [*(command or [self.root / "launch.sh"]), *args],
            cwd=cwd or self.folder,
            env={
                "PATH": str(self.folder / "bin"),
                "HOME": str(self.folder),
                "PYENV_ROOT": str(self.folder / "pyenv"),
                "LM_JAX_EXTRAS": "",
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def launch(self, *args: str, **options) -> tuple[int, str, str]:
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def calls(self) -> list[str]:
        """The calls of venv and pip since the last time this was asked."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        # The file stays: a call that is written meanwhile would be lost with it.
        before, self.told = self.told, len(lines)
        return lines[before:]


def new_machine(folder: Path) -> Machine:
    """A machine in an empty folder, without any Python."""
    machine = Machine(folder.resolve())
    machine.root.mkdir()
    shutil.copy(LAUNCH, machine.root)
    (machine.root / "requirements.txt").write_text("jax\n")
    (machine.root / "pyproject.toml").write_text(
        "[project.optional-dependencies]\ncuda = []\ntpu = []\nwandb = []\n\n[tool.x]\n"
    )
    (machine.folder / "bin").mkdir()
    for tool in TOOLS.split():
        (machine.folder / "bin" / tool).symlink_to(shutil.which(tool))
    return machine
