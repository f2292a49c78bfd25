"""Each process hears at once that another is gone, and who it is.

Whatever a process dies of, its kernel closes the connections of the rendezvous. jax
asks too whether all are alive; that takes long, and ends in a crash. It is left for
hosts that vanish.
"""

import os
import selectors
import socket
import sys
import threading
import time

from lm_jax.scaling.place import Place
from lm_jax.scaling.rendezvous import hear, tell

# Seconds that a process has to end by itself, once another is gone.
_GRACE = 10.0


class Liveness:
    """Watches the other processes of a run while inside, and is watched by them.

    Where one is gone, this process says so at once, and ends with status 1 if it is
    still there some seconds later. The first process tells all others.

    Args:
        place: of this process.
        others: connections, as `rendezvous` gives them.
    """

    def __init__(self, place: Place, others: dict[int, socket.socket]):
        self.others = others
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self._place = place
        self._who = ""
        self._named = threading.Event()

    def __enter__(self) -> "Liveness":
        """Watch."""
        for other in self.others.values():
            _keep(other)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Tell the others that this process ends, and says why by itself."""
        for other in self.others.values():
            tell(other, {"end": True})

    def gone(self, seconds: float) -> str:
        """Who is gone: "process 1"; "" where nobody is after some seconds."""
        self._named.wait(seconds)
        return self._who

    def _watch(self) -> None:
        with selectors.DefaultSelector() as ready:
            for process, other in self.others.items():
                ready.register(other, selectors.EVENT_READ, process)
            while ready.get_map():
                for key, _ in ready.select():
                    told = hear(self.others[key.data], {})
                    if told is None or "gone" in told:
                        self._end(key.data if told is None else told["gone"])
                    ready.unregister(key.fileobj)

    def _end(self, gone: int) -> None:
        """Say who is gone, and end where nothing else does."""
        own = self._place.process
        self._who = f"process {gone}"
        self._named.set()
        said = f"Process {own}: process {gone} is gone. Its log says why, if it could."
        print(said, file=sys.stderr, flush=True)
        if own == 0:
            for other in self.others.values():
                tell(other, {"gone": gone})
        # Without the first, jax ends this process in a moment, by a crash.
        time.sleep(_GRACE if gone else 0.0)
        os._exit(1)


def _keep(other: socket.socket) -> None:
    """Keep a connection, over which nothing is said for days.

    Firewalls forget those that are silent, some after ten minutes.
    """
    other.settimeout(None)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        other.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
