"""What a run writes of a step is enough to tell that it came out otherwise."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lm_jax.data import digest_of
from lm_jax.runs.ledger import Past, differing, digest_of_parameters
from lm_jax.runs.metrics import MetricsLog, read_metrics

BATCH = {"inputs": np.arange(12, dtype=np.int32).reshape(3, 4), "mask": np.ones(3)}


@given(st.data())
def test_any_bit_of_a_batch_moves_its_digest(data):
    name = data.draw(st.sampled_from(sorted(BATCH)))
    raw = bytearray(BATCH[name].tobytes())
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    array = np.frombuffer(raw, BATCH[name].dtype).reshape(BATCH[name].shape)
    assert digest_of((BATCH | {name: array}).items()) != digest_of(BATCH.items())


@pytest.mark.parametrize(
    "other",
    [
        {"input": BATCH["inputs"], "mask": BATCH["mask"]},
        BATCH | {"inputs": BATCH["inputs"].reshape(4, 3)},
        BATCH | {"inputs": BATCH["inputs"].view(np.uint32)},
    ],
)
def test_so_do_names_shapes_and_types(other):
    assert digest_of(other.items()) != digest_of(BATCH.items())


def test_the_digest_of_parameters_is_that_of_any_mesh():
    array = np.arange(32, dtype=np.float32).reshape(8, 4)
    mesh = Mesh(np.array(jax.devices()), ("fsdp",))
    parted = jax.device_put(array, NamedSharding(mesh, PartitionSpec("fsdp")))
    whole = digest_of_parameters({"kernel": jax.numpy.asarray(array)})
    assert digest_of_parameters({"kernel": parted}) == whole
    assert digest_of_parameters({"kernel": parted.at[7, 3].add(1e-6)}) != whole


@given(st.floats(width=32))
def test_a_loss_reads_back_to_its_bits(tmp_path_factory, loss):
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    log = MetricsLog(path)
    log.write(1, {"loss": np.float32(loss)})
    log.close()
    (row,) = read_metrics(path)
    assert differing({"loss": row["loss"]}, {"loss": loss}) is None
    if np.isfinite(loss) and (near := float(np.nextafter(np.float32(loss), 0))) != loss:
        assert differing({"loss": row["loss"]}, {"loss": near}) == "loss"


def test_what_comes_out_otherwise_is_said_once_and_the_cause_first():
    nan = float("nan")
    rows = [
        {"step": 5, "loss": nan, "batch": 1},
        {"step": 6, "loss": 2.0, "batch": 255},
        {"step": 6, "validation_loss": 1.0},
        {"step": 7, "loss": 3.0, "batch": 7},
    ]
    past = Past(rows)
    assert past.differs(5, {"loss": nan, "batch": 1}) == ""
    said = past.differs(6, {"loss": 2.5, "batch": 254})
    assert "Step 6" in said and "the batch was 000000ff, and is now 000000fe" in said
    assert past.differs(7, {"loss": 9.0, "batch": 7}) == ""
    assert "the loss was 3, and is now 2.99999976" in Past(rows).differs(
        7, {"loss": float(np.nextafter(np.float32(3), 0)), "batch": 7}
    )
    assert Past().differs(1, {"loss": 1.0}) == ""
