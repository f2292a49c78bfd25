"""What several processes must agree on, as far as one process can tell."""

import functools
import json
import socket
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lm_jax import distributed
from lm_jax.distributed import beside, check_alike, is_lost, meet, several, writes
from lm_jax.errors import Lost, UserError
from lm_jax.mesh import make_mesh
from lm_jax.processes import COMMAND
from lm_jax.scaling.place import Place
from lm_jax.scaling.taking_part import taking_part
from lm_jax.sharding import Sharding
from lm_jax.training.beginning import later_values
from lm_jax.training.loop import _Inside, _save
from lm_jax.training.state import TrainState


def test_one_process_writes_and_waits_for_nobody():
    def known():
        raise AssertionError("one process compares nothing")

    assert writes() and not several()
    meet("anything")
    check_alike("anything", known)


class Client:
    """What jax's client does, of processes that have all said something."""

    def __init__(self, others, absent=()):
        self.kept, self.others, self.absent = {}, others, absent

    def key_value_set(self, key, value):
        self.kept[key] = value
        for process, known in self.others.items():
            mine = f"/{0}"
            if key.endswith(mine):
                other = key.removesuffix(mine) + f"/{process}"
                self.kept[other] = json.dumps(known)

    def key_value_delete(self, key):
        self.kept = {k: v for k, v in self.kept.items() if not k.startswith(f"{key}/")}

    def key_value_dir_get(self, key):
        return [(k, v) for k, v in self.kept.items() if k.startswith(key)]

    def blocking_key_value_get(self, key, milliseconds):
        return self.kept[key]

    def wait_at_barrier(self, key, milliseconds):
        if self.absent:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out.")


def among(monkeypatch, count, client):
    monkeypatch.setattr("jax.process_count", lambda: count)
    monkeypatch.setattr(distributed, "_client", lambda: client)


def test_a_process_that_differs_is_named_and_where(monkeypatch):
    alike = {"seed": "0", "batch 0": "ab"}
    among(monkeypatch, 3, Client({1: alike, 2: alike | {"seed": "1"}}))
    with pytest.raises(UserError, match=r"Process 2 differs from process 0 in seed: 1"):
        check_alike("what they begin with", lambda: alike)
    among(monkeypatch, 3, Client({1: alike, 2: alike}))
    check_alike("what they begin with", lambda: alike)


def test_long_values_are_shown_from_where_they_differ(monkeypatch):
    flags = " ".join(f"--xla_option_{k}=true" for k in range(20))
    other = flags.replace("_12=true", "_12=false")
    among(monkeypatch, 2, Client({1: {"XLA_FLAGS": other}}))
    with pytest.raises(UserError, match=r"_12=false.* there, .*_12=true.* here") as e:
        check_alike("what they begin with", lambda: {"XLA_FLAGS": flags})
    assert len(str(e.value)) < 400


def test_parts_that_only_others_have_are_compared_among_those(monkeypatch):
    own = {"kernel [(0, 4)]": "aa"}
    theirs = {"kernel [(4, 8)]": "bb"}
    among(monkeypatch, 3, Client({1: theirs, 2: theirs}))
    check_alike("the first step", lambda: own)
    among(monkeypatch, 3, Client({1: theirs, 2: {"kernel [(4, 8)]": "cc"}}))
    with pytest.raises(UserError, match="Process 2 differs from process 1 in kernel"):
        check_alike("the first step", lambda: own)


def test_what_is_compared_is_not_kept(monkeypatch):
    """A long run compares often, and one process keeps what all have said."""
    client = Client({1: {"batch 3": "ab" * 500}})
    among(monkeypatch, 2, client)
    check_alike("after step 4", lambda: {"batch 3": "ab" * 500})
    assert not [key for key in client.kept if "/values/" in key]


MESH = functools.cache(lambda: make_mesh(Sharding(fsdp=2), jax.devices()))


def parameters(change=0):
    arrays = {"kernel": np.arange(8.0), "bias": np.ones(3)}
    arrays["kernel"][5] += change
    places = {"kernel": PartitionSpec("fsdp"), "bias": PartitionSpec()}
    return {
        name: jax.device_put(array, NamedSharding(MESH(), places[name]))
        for name, array in arrays.items()
    }


def later(change=0, batch=0):
    """What a process has after three steps."""
    return later_values({"inputs": np.full(4, batch)}, parameters(change), 3)


def test_what_processes_have_later_is_a_batch_and_what_their_devices_hold():
    """Few values, and another number in a part of them changes that part's alone."""
    first = later()
    assert next(iter(first)) == "batch 2" and len(first) == 3

    def differ(**changes):
        return [
            name for name, value in later(**changes).items() if first[name] != value
        ]

    assert differ() == [] and differ(batch=1) == ["batch 2"]
    assert differ(change=1) == list(first)[2:]


@pytest.mark.parametrize(
    "other, where", [({"change": 1}, "the parameters, part"), ({"batch": 1}, "batch 2")]
)
def test_one_that_parted_after_the_first_step_is_named_before_a_save(
    other, where, monkeypatch
):
    inside, state = Mock(), Mock(params=parameters())
    inside.__class__, state.__class__ = _Inside, TrainState  # annotations are checked
    inside.setup.order.batch.return_value = {"inputs": np.full(4, 0)}
    among(monkeypatch, 2, Client({1: later(**other)}))
    with pytest.raises(UserError, match=f"Process 1 differs from process 0 in {where}"):
        _save(inside, state, 3, None, False)
    inside.setup.order.batch.assert_called_once_with(2)
    assert not inside.setup.to_saved.called


def test_processes_of_one_machine_share_it(monkeypatch):
    assert beside() == 1
    own = socket.gethostname()
    machines = {0: own, 1: "another", 2: own}
    monkeypatch.setattr("jax.process_count", lambda: 3)
    monkeypatch.setattr(distributed, "published", lambda name: machines)
    assert beside() == 2


def test_who_did_not_come_is_named(monkeypatch):
    monkeypatch.setattr(distributed, "_deadline", 7.0)
    among(monkeypatch, 3, Client({1: {}}, absent=(2,)))
    with pytest.raises(Lost, match="waited 7 s for all to meet: a save. Missing: proc"):
        meet("a save")
    with pytest.raises(Lost, match="Missing: process 2 "):
        meet("a save")


def test_a_verdict_that_does_not_come_is_waited_for_like_all_else(monkeypatch):
    """The first process compares, and may end before it has said what it found."""

    def nothing(key, milliseconds):
        raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: GetKeyValue() timed out.")

    client = Client({1: {}})
    monkeypatch.setattr(client, "blocking_key_value_get", nothing)
    monkeypatch.setattr(distributed, "_deadline", 7.0)
    among(monkeypatch, 2, client)
    with pytest.raises(Lost, match="waited 7 s for all to meet: batch 0. Missing: pro"):
        check_alike("batch 0", dict)


def test_jax_starts_while_all_are_there(monkeypatch, capsys):
    """Later, one that isn't is waited for two minutes, and not named."""
    order = []
    for name in ("rendezvous", "devices", "publish"):
        told = functools.partial(lambda name, *_, **__: order.append(name) or {}, name)
        monkeypatch.setattr(f"lm_jax.scaling.taking_part.{name}", told)
    told = {}
    monkeypatch.setattr(
        "jax.distributed.initialize", lambda **k: told.update(k) or order.append("jax")
    )
    monkeypatch.setattr("jax.distributed.shutdown", lambda: order.append("end"))
    monkeypatch.setattr("jax.config.update", lambda *_: None)
    monkeypatch.setattr(distributed, "_deadline", 600.0)
    monkeypatch.delenv(COMMAND, raising=False)
    monkeypatch.setattr("lm_jax.scaling.taking_part.own_gpus", lambda *_: [1, 3])
    with taking_part(Place(2, 0, "here:1")):
        order.append("inside")
    assert order == ["rendezvous", "jax", "devices", "publish", "inside", "end"]
    said = capsys.readouterr().out
    assert said.startswith("Starting: process 0 of 2")
    assert told["local_device_ids"] == [1, 3] and "GPUs are 1, 3." in said
    assert max(map(len, said.splitlines())) <= 80


def test_what_a_save_ends_with_is_that_another_is_lost(monkeypatch):
    """orbax waits for the others in a thread, and says only that the time is over."""
    lost = jax.errors.JaxRuntimeError(
        "INTERNAL: Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 "
        "heartbeat timeout. RPC: /xla.coordination.CoordinationService/Barrier"
    )
    late = TimeoutError("Timed out while waiting for async_commit_complete barrier.")
    late.__cause__ = lost
    assert not is_lost(lost)
    monkeypatch.setattr("jax.process_count", lambda: 2)
    assert is_lost(lost) and is_lost(late)
    assert not is_lost(TimeoutError("late")) and not is_lost(ValueError("a number"))


def test_a_process_whose_devices_failed_ends_without_starting_them_again(monkeypatch):
    def fails():
        raise RuntimeError("Unable to initialize backend")

    def ends(code):
        raise SystemExit(code)

    monkeypatch.setattr("jax.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("jax.process_index", fails)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("os._exit", ends)
    with pytest.raises(SystemExit, match="2"):
        distributed.leave(2)
