"""All find each other, or say who is missing, before jax starts."""

import socket
import threading
from contextlib import suppress

import pytest

from lm_jax.errors import UserError
from lm_jax.scaling.place import Place
from lm_jax.scaling.rendezvous import rendezvous


@pytest.fixture
def coordinator():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def together(*places):
    """What each process says at the rendezvous, all at once: "" where all is well."""
    said = {}

    def one(number, place):
        try:
            rendezvous(place)
            said[number] = ""
        except UserError as error:
            said[number] = str(error)

    threads = [threading.Thread(target=one, args=item) for item in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [said.get(number, "it hangs") for number in range(len(places))]


def test_all_of_them_go_on_together(coordinator):
    places = [Place(4, k, coordinator, 10.0) for k in (3, 1, 0, 2)]
    assert together(*places) == [""] * 4


def test_who_came_is_told_who_did_not(coordinator):
    said = together(*(Place(4, k, coordinator, 0.7) for k in (0, 2)))
    for number, words in zip((0, 2), said, strict=True):
        assert f"Process {number} of 4: waited 0.7 s at {coordinator}" in words
        assert "process 1, 3 didn't come" in words


def test_a_first_process_that_never_comes_is_named(coordinator):
    (said,) = together(Place(2, 1, coordinator, 0.3))
    assert f"process 0 can't be reached at {coordinator} in 0.3 s" in said
    assert "That address is each host's own" in said


def test_two_of_one_index_are_refused(coordinator):
    said = together(*(Place(3, k, coordinator, 5.0) for k in (0, 1, 1)))
    assert all("two with the index 1" in words for words in said)


def test_processes_that_count_otherwise_are_refused(coordinator):
    said = together(Place(2, 0, coordinator, 5.0), Place(3, 1, coordinator, 5.0))
    assert all("was told of 3 processes, and process 0 of 2" in s for s in said)


STRANGERS = {
    "a browser": b"GET / HTTP/1.1\r\n\r\n",
    "another program": b'{"hello": 1}\n',
    "one with words for numbers": b'{"process": "1", "processes": 2, "host": "a"}\n',
    "one beyond the last": b'{"process": 2, "processes": 2, "host": "a"}\n',
}


def first_that_can(tried):
    """What is done as soon as the other side is there."""
    for _ in range(100):
        with suppress(OSError):
            return tried()
        threading.Event().wait(0.05)
    raise AssertionError("nobody came")


@pytest.mark.parametrize("says", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_at_the_port_is_passed_over(coordinator, says):
    address = ("127.0.0.1", int(coordinator.rpartition(":")[2]))

    def knock():
        with socket.create_connection(address, 1) as stranger:
            stranger.sendall(says)

    said = []
    first = threading.Thread(
        target=lambda: said.extend(together(Place(2, 0, coordinator, 10.0)))
    )
    first.start()
    first_that_can(knock)
    assert together(Place(2, 1, coordinator, 10.0)) == [""]
    first.join()
    assert said == [""]


def test_a_stranger_that_answers_for_the_first_process_is_passed_over(coordinator):
    """It may be the last job's, which still ends; the first process comes later."""
    address = ("127.0.0.1", int(coordinator.rpartition(":")[2]))
    said = []
    with socket.create_server(address) as other:
        second = threading.Thread(
            target=lambda: said.extend(together(Place(2, 1, coordinator, 10.0)))
        )
        second.start()
        with other.accept()[0] as came:
            came.recv(1024)
            came.sendall(b'{"hello": 1}\n')
    assert together(Place(2, 0, coordinator, 10.0)) == [""]
    second.join()
    assert said == [""]


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        place = Place(2, 0, f"127.0.0.1:{taken.getsockname()[1]}", 1.0)
        with pytest.raises(UserError, match="can't be opened here"):
            rendezvous(place)
