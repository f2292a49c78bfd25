"""Start jax in one process of several, and end it with the others."""

import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from lm_jax.distributed import is_lost, leave, publish, set_deadline
from lm_jax.errors import Diverged, Lost, UserError
from lm_jax.platform import devices
from lm_jax.processes import COMMAND, end_with_parent
from lm_jax.runs.display import Display
from lm_jax.scaling.gpus import own_gpus
from lm_jax.scaling.liveness import Liveness
from lm_jax.scaling.place import Place
from lm_jax.scaling.rendezvous import rendezvous

# jax looks that often whether all processes are alive, or a tenth of the timeout.
_HEARTBEAT = 100.0
# Seconds until it is known who is gone, where a collective has failed.
_HEARD = 5.0


@contextmanager
def taking_part(place: Place | None) -> Iterator[None]:
    """Be one process of several while inside; of one, do nothing.

    Args:
        place: of this process; None where it is the only one.

    Raises:
        UserError: the others can't be found, or can't have as many GPUs each.
        Lost: one of them ended, or can't be reached any more.
    """
    if place is None:
        yield
        return
    gpus = own_gpus(place.local, os.environ)
    share = "" if gpus is None else f" Its GPUs are {', '.join(map(str, gpus))}."
    Display(0).message(f"Starting: {place}.{share}")
    with Liveness(place, rendezvous(place)) as others:
        _start(place, gpus)
        try:
            yield
        except (UserError, Diverged, Lost, KeyboardInterrupt, SystemExit):
            raise  # said, and left, where the command ends
        except Exception as error:
            if is_lost(error):
                who = others.gone(_HEARD) or "another process"
                reason = " ".join(str(error).split())[:300]
                raise Lost(
                    f"Process {place.process} can't go on: {who} has ended, or can't "
                    f"be reached. Its log says why. ({reason})"
                ) from error
            traceback.print_exc()
            leave(1)
    jax.distributed.shutdown()


def _start(place: Place, gpus: list[int] | None) -> None:
    """Start jax, once all are there."""
    set_deadline(place.timeout)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator_address=place.coordinator,
        num_processes=place.processes,
        process_id=place.process,
        local_device_ids=gpus,
        cluster_detection_method="deactivate",
        initialization_timeout=max(1, int(place.timeout)),
        heartbeat_timeout_seconds=max(1, int(min(_HEARTBEAT, place.timeout))),
        shutdown_timeout_seconds=max(1, int(place.timeout)),
    )
    # They tell each other what devices they have: who comes late here isn't named.
    devices(several=True)
    publish("machine", socket.gethostname())
    if COMMAND in os.environ:  # a process of ours started this one
        end_with_parent()
