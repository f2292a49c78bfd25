"""The ledger keeps what was written, whatever ended its writer."""

import pytest

from lm_jax.contest.ledger import Ledger
from lm_jax.errors import UserError


def test_a_last_line_that_was_cut_short_was_never_written(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    assert ledger.entries() == []
    ledger.append("frozen", proposal=0, loss=float("inf"))
    ledger.append("seeds", proposal=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [entry["event"] for entry in ledger.entries()] == ["frozen"]
    ledger.append("run", pair=0)
    assert [entry["event"] for entry in ledger.entries()] == ["frozen", "run"]
    assert ledger.entries()[0]["loss"] == "inf"


def test_a_damaged_ledger_is_named(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"event": "frozen"\n{"event": "seeds"}\n')
    with pytest.raises(UserError, match="is damaged"):
        Ledger(path).entries()
