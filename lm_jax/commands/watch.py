"""Show the report of sweeps and runs in a browser, while they train."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lm_jax.bounds import check, within
from lm_jax.commands.options import read_options
from lm_jax.files import given_path
from lm_jax.report.gathering import gather
from lm_jax.report.serving import LOOPBACK, Live, server_of

_RUNS = tyro.conf.arg(metavar="RUN|SWEEP ...")


@dataclass(frozen=True)
class Options:
    """Show the report of a sweep, or of runs, in a browser while they train.

    The page is that of `report`; it loads itself again when something has changed. It
    is for this machine alone: from another one, `ssh -L 8000:localhost:8000` leads
    port 8000 here.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, _RUNS]
    """Folders of sweeps, runs, or folders of runs."""
    port: int = within("[0, 65535]", 0)
    """That it listens on; 0 is one that is free."""

    def __post_init__(self) -> None:
        """Refuse a port that there isn't."""
        check(self, "watch")


def main(args: list[str]) -> None:
    """Run the command, until Ctrl-C."""
    options = read_options(Options, "watch", args)
    paths = [given_path(path, "A run") for path in options.runs]
    gather(paths)  # what can't be read is said before anything is served
    with server_of(Live(paths), options.port) as server:
        port = server.server_address[1]
        print(f"The report is at http://{LOOPBACK}:{port}/ (Ctrl-C ends).", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nNo longer served; the runs go on.")
