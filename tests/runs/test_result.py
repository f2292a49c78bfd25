"""result.json reads back as it was written."""

import errno
import json
import math
import subprocess
import sys
from pprint import pformat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.evaluation import Found
from lm_jax.runs.result import (
    add_scores,
    end_run,
    ended_result,
    find_scores,
    has_ended,
    mark_longer,
    read_result,
    write_result,
)
from lm_jax.runs.scored import entries

values = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.text()
    | st.booleans()
)


keys = st.text().filter(lambda key: key not in ("scores", "best"))  # see below


@settings(max_examples=50)
@given(result=st.dictionaries(keys, values | st.lists(values)))
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


WHOLE = {
    "corpus": "ptb",
    "watch": "likelihood",
    "policy": "windows of 8",
    "steps": 4,
    "scores": [],
    "tokens": 32,
    "parameters": 9,
    "seconds": 1.0,
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_result_that_lacks_something_is_of_no_run_that_has_ended(tmp_path, name):
    lacking = {known: value for known, value in WHOLE.items() if known != name}
    write_result(tmp_path, lacking)
    for reads in (has_ended, ended_result):
        with pytest.raises(UserError, match=f"result.json lacks {name}: move it"):
            reads(tmp_path)
    assert read_result(tmp_path) == lacking


def test_a_run_that_is_made_longer_has_not_ended_until_it_has_again(tmp_path):
    mark_longer(tmp_path, "9 steps")
    assert not has_ended(tmp_path) and not list(tmp_path.glob("result.json"))
    end_run(tmp_path, WHOLE)
    before = (tmp_path / "result.json").read_bytes()
    mark_longer(tmp_path, "9 steps")
    assert not has_ended(tmp_path)
    with pytest.raises(UserError, match="budget is '9 steps' now.*its first 4 steps"):
        ended_result(tmp_path)
    mark_longer(tmp_path, None)
    assert (tmp_path / "result.json").read_bytes() == before
    mark_longer(tmp_path, "9 steps")
    end_run(tmp_path, WHOLE | {"steps": 9})
    assert has_ended(tmp_path) and ended_result(tmp_path)["steps"] == 9


def test_a_run_without_result_is_said(tmp_path):
    with pytest.raises(UserError, match="has no result.json"):
        read_result(tmp_path)


def test_scores_are_appended_with_what_they_depend_on(tmp_path):
    where = {"split": "test", "corpus": "ptb", "text": "t", "policy": "windows of 8"}
    told = Found({"loss": 2.0}, more={"confusion": {"counts": [[1, 2], [3, 4]]}})
    first = entries({"likelihood": told, "sample": Found({})}, step=3, **where)
    assert [entry["evaluation"] for entry in first] == ["likelihood"]
    assert first[0]["confusion"]["counts"] == [[1, 2], [3, 4]]
    write_result(tmp_path, {"steps": 4, "scores": first})
    second = entries({"likelihood": Found({"loss": 1.0})}, step=4, **where)
    for _ in range(2):
        add_scores(tmp_path, second)
    result = read_result(tmp_path)
    assert result["scores"] == first + second
    result |= {"watch": "likelihood", **where}
    assert find_scores(result, "test", "end") == {"loss": 1.0}
    assert find_scores(result, "test", "best") == {}
    result["best"] = {"step": 3}
    assert find_scores(result, "test", "best") == {"loss": 2.0}
    for other in ({"watch": "other"}, {"text": "other"}, {"corpus": "other"}):
        assert find_scores(result | other, "test", "end") == {}


@pytest.mark.parametrize("later", ["ours", "theirs", None])
def test_what_is_scored_again_later_is_not_what_training_found(tmp_path, later):
    """By other code, or by the same on other devices."""
    where = {"split": "validation", "corpus": "ptb", "text": "t", "policy": "all"}

    def scored(loss, code):
        (found,) = entries({"likelihood": Found({"loss": loss})}, step=4, **where)
        return found | {"code": code and {"sources": code}}

    result = {"steps": 4, "watch": "likelihood", **where}
    result |= {"scores": [scored(2.0, "ours")], "trained_with": [{"sources": "ours"}]}
    write_result(tmp_path, result)
    add_scores(tmp_path, [scored(1.0, later)])
    result = read_result(tmp_path)
    assert len(result["scores"]) == 2
    assert find_scores(result, "validation", "end") == {"loss": 2.0}
    # What training never found is that which came last.
    result["trained_with"] = [{"sources": "earlier"}]
    assert find_scores(result, "validation", "end") == {"loss": 1.0}


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


numbers = st.floats() | st.integers()


@settings(max_examples=50)
@given(
    scores=st.dictionaries(st.text(), numbers),
    best=st.none() | st.dictionaries(st.text(), numbers, min_size=1),
    policy=st.sampled_from(["inf", "nan", "windows of 8"]),
)
def test_a_result_is_strict_json_whatever_its_numbers(
    tmp_path_factory, scores, best, policy
):
    run = tmp_path_factory.mktemp("run")
    entry = {"policy": policy, "scores": scores}
    result = {"policy": policy, "scores": [entry], "best": best}
    write_result(run, result)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((run / "result.json").read_text(), parse_constant=refuse)
    assert pformat(read_result(run)) == pformat(result)  # as text, NaNs are equal


def test_infinities_that_earlier_versions_wrote_are_read(tmp_path):
    text = '{"scores": [{"scores": {"loss": Infinity, "perplexity": NaN}}]}'
    (tmp_path / "result.json").write_text(text)
    scores = read_result(tmp_path)["scores"][0]["scores"]
    assert scores["loss"] == math.inf and math.isnan(scores["perplexity"])


@pytest.mark.parametrize("text", ["[]", "3", '{"scores": [{"scores": {"a": "x"}}]}'])
def test_what_is_json_and_no_result_is_named(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError, match="result.json is damaged"):
        read_result(tmp_path)


def test_scores_that_are_no_numbers_are_not_said_twice(tmp_path):
    write_result(tmp_path, {"steps": 4, "scores": []})
    where = {
        "split": "test",
        "corpus": "ptb",
        "text": "t",
        "policy": "windows of 8",
        "step": 4,
    }
    for _ in range(2):
        made = entries({"likelihood": Found({"loss": float("nan")})}, **where)
        add_scores(tmp_path, made)
    assert len(read_result(tmp_path)["scores"]) == 1


def test_a_run_that_cannot_be_written_is_named_by_its_result(tmp_path, monkeypatch):
    write_result(tmp_path, WHOLE)

    def refuse(path, *_):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("lm_jax.runs.directory.os.open", refuse)
    with pytest.raises(UserError, match="Cannot write .*/result.json: .* read-only"):
        add_scores(tmp_path, [])


APPENDS = """
import sys
from pathlib import Path
from lm_jax.evaluation import Found
from lm_jax.runs.result import add_scores
from lm_jax.runs.scored import entries
run, name = Path(sys.argv[1]), sys.argv[2]
where = {"split": "test", "corpus": "ptb", "text": "t", "policy": "windows of 8"}
for step in range(20):
    add_scores(run, entries({name: Found({"loss": 1.0})}, step=step, **where))
"""


@pytest.mark.slow
def test_processes_that_score_a_run_at_once_lose_nothing_of_each_other(tmp_path):
    write_result(tmp_path, {"steps": 4, "scores": []})
    processes = [
        subprocess.Popen([sys.executable, "-c", APPENDS, tmp_path, name])
        for name in ("a", "b")
    ]
    assert [process.wait() for process in processes] == [0, 0]
    scores = read_result(tmp_path)["scores"]
    found = {(entry["evaluation"], entry["step"]) for entry in scores}
    assert found == {(name, step) for name in "ab" for step in range(20)}
    assert len(scores) == 40


def test_a_run_that_ends_keeps_what_was_scored_before(tmp_path):
    where = {"split": "test", "corpus": "ptb", "text": "t", "policy": "windows of 8"}
    first = entries({"likelihood": Found({"loss": 2.0})}, step=3, **where)
    second = entries({"likelihood": Found({"loss": 1.0})}, step=4, **where)
    code = {"version": "1", "sources": "abc", "commit": None, "dirty": None}
    starts = [{"code": code}, {"code": code | {"sources": "def"}}, {"code": code}]
    (tmp_path / "environment.json").write_text(json.dumps(starts))
    end_run(tmp_path, {"steps": 3, "scores": first})
    end_run(tmp_path, {"steps": 4, "scores": second})
    result = read_result(tmp_path)
    assert result["scores"] == first + second
    assert [made["sources"] for made in result["trained_with"]] == ["abc", "def"]
    assert set(first[0]["code"]) == {"version", "sources", "commit", "dirty"}


def test_the_same_score_by_other_code_is_said_again(tmp_path):
    where = {
        "split": "test",
        "corpus": "ptb",
        "text": "t",
        "policy": "windows of 8",
        "step": 3,
    }
    (made,) = entries({"likelihood": Found({"loss": 2.0})}, **where)
    write_result(tmp_path, {"steps": 4, "scores": [made]})
    commit = made | {"code": made["code"] | {"commit": "another, of the same sources"}}
    add_scores(tmp_path, [commit])
    assert len(read_result(tmp_path)["scores"]) == 1
    add_scores(tmp_path, [made | {"code": made["code"] | {"sources": "other"}}])
    assert len(read_result(tmp_path)["scores"]) == 2
