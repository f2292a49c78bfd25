"""A split is summed to its last batch, and a carry goes from batch to batch."""

import jax
import numpy as np
import pytest

from lm_jax.data.windows import Windows
from lm_jax.evaluation.whole_split import summed
from lm_jax.sharding import Sharding, make_mesh

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
    assert told == [("evaluating", k, batches) for k in range(batches + 1)]
