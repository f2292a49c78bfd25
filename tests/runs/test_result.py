"""result.json reads back as it was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.runs.result import read_result, write_result

values = st.floats(allow_nan=False) | st.integers() | st.text() | st.booleans()


@given(result=st.dictionaries(st.text(), values | st.lists(values)))
def test_numbers_come_back_exactly(tmp_path_factory, result):
    run = tmp_path_factory.mktemp("run")
    write_result(run, result)
    back = read_result(run)
    assert back == result
    assert repr(sorted(back.items())) == repr(sorted(result.items()))


def test_equal_results_are_equal_files(tmp_path):
    write_result(tmp_path, {"b": 1, "a": 0.1})
    first = (tmp_path / "result.json").read_bytes()
    write_result(tmp_path, {"a": 0.1, "b": 1})
    assert (tmp_path / "result.json").read_bytes() == first
    assert list(json.loads(first)) == ["a", "b"]


def test_a_run_without_result_is_said(tmp_path):
    with pytest.raises(UserError, match="has no result.json"):
        read_result(tmp_path)


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "result.json").write_text('{"a": ')
    with pytest.raises(UserError, match="result.json is damaged"):
        read_result(tmp_path)
