"""A split is summed to its last batch, and a carry goes from batch to batch.

How far it is is said, and never that it is done before it is.
"""

import jax
import numpy as np
import pytest

from lm_jax.data.windows import Windows
from lm_jax.evaluation.whole_split import summed
from lm_jax.mesh import make_mesh
from lm_jax.sharding import Sharding

MESH = make_mesh(Sharding(), jax.devices()[:1])


def step(params, batch, carry):
    nats = (batch["nats"] * batch["mask"]).sum()
    return {"nats": params * nats, "weight": batch["mask"].sum()}, carry + 1


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_every_row_is_summed_once_and_all_is_told(rows):
    def row(index):
        return {"nats": np.float32(10.0**index), "mask": np.float32(1)}

    told, seen = [], []

    def counted(params, batch, carry):
        seen.append(carry)
        return step(params, batch, carry)

    found = summed(
        counted, 2.0, Windows(rows, row, 2), MESH, 0, lambda *what: told.append(what)
    )
    assert found == {"nats": 2.0 * sum(10.0**k for k in range(rows)), "weight": rows}
    batches = -(-rows // 2)
    assert seen == list(range(batches))
    assert told[0] == ("evaluating", 0, batches)
    assert told[-1] == ("evaluating", batches, batches)


class Sum:
    """A number that is there once somebody waited for it."""

    def __init__(self, value, waited):
        self.value, self.waited = value, waited

    def block_until_ready(self):
        self.waited.add(self.value)
        return self

    def __float__(self):
        self.block_until_ready()
        return float(self.value)


@pytest.mark.parametrize("count", [1, 4, 5, 6, 20])
def test_what_is_said_to_be_done_was_computed(count, monkeypatch):
    waited, told = set(), []
    monkeypatch.setattr(
        jax, "device_get", lambda sums: [float(s["n"]) for s in sums] and sums
    )

    def step(params, batch, carry):
        return {"n": Sum(int(batch["n"][0]), waited)}, carry

    def progress(description, done, total):
        assert total == count and len(waited) >= done
        told.append(done)

    mesh = make_mesh(Sharding(), jax.devices()[:1])
    monkeypatch.setattr(
        "lm_jax.evaluation.whole_split.to_mesh", lambda batch, mesh: batch
    )
    batches = Windows(count, lambda index: {"n": np.array(index)}, 1)
    sums = summed(step, None, batches, mesh, progress=progress)
    assert sums == {"n": sum(range(count))}
    assert told == sorted(told) and told[0] == 0 and told[-1] == count
