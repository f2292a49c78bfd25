"""Which code a run was begun, continued and scored with."""

import hashlib
import json
import os
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from lm_jax.errors import UserError
from lm_jax.files import read_whole

PACKAGE = Path(__file__).resolve().parents[1]
_LONGEST_DIFF = 100_000  # characters; more is no diff that anybody reads


@cache
def own_code(package: Path = PACKAGE) -> dict:
    """The code of this process, read once.

    Args:
        package: the folder of the package.

    Returns:
        "version" of the package, "sources" (12 digits that name the text of its
        Python files), and "commit" and "dirty" (whether its files differ from that)
        of its own git checkout; None where there is none.
    """
    return {
        "version": _version(),
        "sources": sources_digest(package),
        **(_commit(package) or {"commit": None, "dirty": None}),
    }


def sources_digest(package: Path) -> str:
    """Name the text of a package's Python files: 12 hexadecimal digits."""
    files = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(package)
        for name in names
        if name.endswith(".py")
    )
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        name = file.relative_to(package).as_posix()
        found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:12]


def changes(package: Path = PACKAGE) -> str | None:
    """How a package's files differ from their commit, new files too.

    A long diff is cut, and says so in its last line. None without a checkout of its
    own, and where nothing differs.
    """
    if not (_commit(package) or {}).get("dirty"):
        return None
    try:
        diff = _git(package, "diff", "HEAD", "--", ".")
        listed = _git(package, "ls-files", "--others", "--exclude-standard", "-z", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    for name in filter(None, listed.split("\0")):
        text = (package / name).read_text("utf-8", "replace")
        diff += f"\nnew file {name}\n" + "".join(
            f"+{line}\n" for line in text.splitlines()
        )
    if len(diff) > _LONGEST_DIFF:
        more = len(diff) - _LONGEST_DIFF
        return f"{diff[:_LONGEST_DIFF]}\n[{more} characters more were left out]"
    return diff


def codes_of(run: Path) -> list[dict]:
    """The code of each start of a run, from the first; what is not known is left out.

    Raises:
        UserError: when environment.json is no list of starts.
    """
    return [_code_of(start) for start in read_starts(run) if _code_of(start)]


def read_starts(run: Path) -> list[dict]:
    """What environment.json says of each start of a run; none, if it isn't there.

    Raises:
        UserError: when it is there and no such list.
    """
    path = run / "environment.json"
    try:
        starts = json.loads(read_whole(path)) if path.exists() else []
    except ValueError:
        starts = None
    if not (isinstance(starts, list) and all(isinstance(s, dict) for s in starts)):
        raise UserError(f"{path} is damaged: mend it or move it away.")
    return starts


def _code_of(start: dict) -> dict:
    """The code of a start; earlier versions wrote the commit alone."""
    before = start.get("commit") or {}
    old = {"commit": before["id"], "dirty": before["dirty"]} if before else {}
    return start.get("code") or old


def changed_code(run: Path, package: Path = PACKAGE) -> str:
    """Say that this is not the code that a run began with; "" where it is.

    Raises:
        UserError: as `codes_of`.
    """
    began, now = codes_of(run)[:1], own_code(package)
    if not began or _same(began[0], now):
        return ""
    return (
        f"The code of lm_jax is not what this run began with: {_named(began[0])} then, "
        f"{_named(now)} now. What comes out may differ from before for that alone. "
        "environment.json keeps the commits, and the changes where there were any."
    )


def _same(a: dict, b: dict) -> bool:
    if a.get("sources") and b.get("sources"):
        return a["sources"] == b["sources"]
    known = a.get("commit") and b.get("commit")
    return not known or (a["commit"], a["dirty"]) == (b["commit"], b["dirty"])


def _named(code: dict) -> str:
    """A code in words."""
    commit = f"commit {code['commit'][:10]}" if code.get("commit") else ""
    if commit and code.get("dirty"):
        commit += " with changes"
    version = f"version {code['version']}" if code.get("version") else ""
    sources = f"sources {code['sources']}" if code.get("sources") else ""
    return ", ".join(filter(None, [commit or version, sources])) or "unknown code"


def _version() -> str | None:
    try:
        return metadata.version("lm-jax")
    except metadata.PackageNotFoundError:
        return None


def _commit(package: Path) -> dict | None:
    """The git commit of a package's checkout, and whether its files differ from it.

    None without git, and where the package lies inside somebody else's
    repository (installed below a checkout): that commit would say nothing.
    """
    try:
        told = _git(package, "rev-parse", "--show-toplevel", "HEAD")
        top, commit = told.splitlines()
        if Path(top).resolve() != package.resolve().parent:
            return None
        dirty = bool(_git(package, "status", "--porcelain", "--", "."))
        return {"commit": commit, "dirty": dirty}
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    answer = subprocess.run(
        command,
        capture_output=True,
        check=True,
        timeout=10,
        encoding="utf-8",
        errors="replace",
    )
    return answer.stdout.strip("\n")
