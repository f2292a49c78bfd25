"""Whoever is gone is named by all others, at once; who ends in order is not."""

import socket
import threading

import pytest

from lm_jax.scaling import liveness
from lm_jax.scaling.liveness import Liveness
from lm_jax.scaling.place import Place
from lm_jax.scaling.rendezvous import rendezvous


@pytest.fixture
def three(monkeypatch):
    """What watches in each of three processes, which are threads here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    watching = {}

    def one(process):
        place = Place(3, process, coordinator, 10.0)
        watching[process] = Liveness(place, rendezvous(place))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return watching


@pytest.fixture
def ended(monkeypatch):
    """The statuses that processes end with, by themselves or not at all."""
    statuses, all_ended = [], threading.Event()

    def end(status):
        statuses.append(status)
        if len(statuses) == 2:
            all_ended.set()
        threading.Event().wait()  # it goes no further

    monkeypatch.setattr(liveness, "_GRACE", 0.05)
    monkeypatch.setattr(liveness.os, "_exit", end)
    return lambda: (all_ended.wait(10), statuses)[1]


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_who_is_gone_is_named_by_all_others(three, ended, capsys, dead):
    for process, each in three.items():
        if process != dead:
            each.__enter__()
    for connection in three[dead].others.values():  # as the kernel does
        connection.close()
    alive = [process for process in three if process != dead]
    assert [three[process].gone(10.0) for process in alive] == [f"process {dead}"] * 2
    assert ended() == [1, 1]  # whatever else they were doing
    said = capsys.readouterr().err
    for process in alive:
        assert f"Process {process}: process {dead} is gone." in said


def test_who_ends_in_order_is_not_gone(three, ended, capsys):
    for each in three.values():
        each.__enter__()
        for connection in each.others.values():
            kept = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert kept and connection.gettimeout() is None
    for process in (1, 0, 2):
        three[process].__exit__(None, None, None)
        for connection in three[process].others.values():
            connection.shutdown(socket.SHUT_WR)
    for each in three.values():
        each.thread.join(10)
        assert not each.thread.is_alive() and each.gone(0.0) == ""
    assert capsys.readouterr().err == ""
