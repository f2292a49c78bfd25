"""result.json reads back as it was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.runs.result import (
    add_scores,
    entries,
    find_scores,
    read_result,
    write_result,
)

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


def test_scores_are_appended_with_what_they_depend_on(tmp_path):
    where = {"split": "test", "corpus": "ptb", "policy": "windows of 8"}
    first = entries({"likelihood": {"loss": 2.0}, "sample": {}}, step=3, **where)
    assert [entry["evaluation"] for entry in first] == ["likelihood"]
    write_result(tmp_path, {"steps": 4, "scores": first})
    second = entries({"likelihood": {"loss": 1.0}}, step=4, **where)
    for _ in range(2):
        add_scores(tmp_path, second)
    result = read_result(tmp_path)
    assert result["scores"] == first + second
    result |= {"watch": "likelihood", "corpus": "ptb", "policy": "windows of 8"}
    assert find_scores(result, "test", "end") == {"loss": 1.0}
    assert find_scores(result, "test", "best") == {}
    result["best"] = {"step": 3}
    assert find_scores(result, "test", "best") == {"loss": 2.0}
    assert find_scores(result | {"watch": "other"}, "test", "end") == {}


def test_a_result_of_an_earlier_format_is_named(tmp_path):
    (tmp_path / "result.json").write_text('{"validation": {"loss": 1.0}}')
    with pytest.raises(UserError, match="earlier format"):
        read_result(tmp_path)


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "result.json").write_text('{"a": ')
    with pytest.raises(UserError, match="result.json is damaged"):
        read_result(tmp_path)


def test_an_earlier_format_is_said(tmp_path):
    write_result(tmp_path, {"steps": 4, "validation": {"loss": 2.0}})
    with pytest.raises(UserError, match="of an earlier format"):
        read_result(tmp_path)
