"""A run knows which code it was begun, continued and scored with."""

import json
import shutil
import subprocess

import pytest

from lm_jax.errors import UserError
from lm_jax.runs import code as module
from lm_jax.runs.code import changed_code, changes, codes_of, own_code, sources_digest
from lm_jax.runs.environment import record_environment

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def package(tmp_path):
    """A package of two files, in a folder of its own."""
    folder = tmp_path / "checkout" / "pack"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text("A = 1\n")
    (folder / "inner" / "b.py").write_text("B = 1\n")
    (folder / "data.txt").write_text("no code")
    own_code.cache_clear()
    yield folder
    own_code.cache_clear()


@pytest.fixture
def checkout(package):
    """The package, committed."""
    git(package.parent, "init")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "one", "--no-gpg-sign")
    return package


def test_the_digest_is_of_the_text_of_all_python_files(package, tmp_path):
    first = sources_digest(package)
    elsewhere = shutil.copytree(package, tmp_path / "elsewhere")
    assert sources_digest(elsewhere) == first
    (package / "data.txt").write_text("other data")
    assert sources_digest(package) == first
    found = {first}
    (package / "inner" / "b.py").write_text("B = 2\n")
    found.add(sources_digest(package))
    (package / "inner" / "b.py").rename(package / "inner" / "c.py")
    found.add(sources_digest(package))
    (package / "d.py").write_text("")
    found.add(sources_digest(package))
    assert len(found) == 4


def test_without_a_checkout_there_is_a_digest_and_no_commit(package, monkeypatch):
    found = own_code(package)
    assert (found["commit"], found["dirty"]) == (None, None)
    assert len(found["sources"]) == 12
    assert changes(package) is None
    monkeypatch.setenv("PATH", str(package))
    assert module._commit(package) is None  # no git at all


@needs_git
def test_the_commit_is_the_projects_own(checkout):
    assert own_code(checkout)["dirty"] is False
    (checkout.parent / "README").write_text("not of the package")
    assert module._commit(checkout)["dirty"] is False
    (checkout / "a.py").write_text("A = 2\n")
    found = module._commit(checkout)
    assert found["dirty"] is True
    assert len(found["commit"]) == 40
    assert module._commit(checkout / "inner") is None  # in a repository of others


@needs_git
def test_what_differs_from_the_commit_is_kept_new_files_too(checkout):
    assert changes(checkout) is None
    (checkout / "a.py").write_text("A = 'ä'\n")
    (checkout / "inner" / "new ü.py").write_text("NEW = 1\n")
    diff = changes(checkout)
    assert "-A = 1\n+A = 'ä'" in diff
    assert "new file inner/new ü.py\n+NEW = 1" in diff
    (checkout / "a.py").write_text("A = 3  # long\n" * 20_000)
    diff = changes(checkout)
    assert len(diff) < 101_000
    assert "characters more were left out" in diff.splitlines()[-1]


def begin(run, code):
    (run / "environment.json").write_text(json.dumps([{"code": code}]))


def test_other_code_than_a_run_began_with_is_said(package, tmp_path):
    assert changed_code(tmp_path, package) == ""  # nothing begun
    begin(tmp_path, own_code(package))
    assert changed_code(tmp_path, package) == ""
    (package / "a.py").write_text("A = 2\n")
    assert changed_code(tmp_path, package) == ""  # read once in a process
    began = own_code(package)["sources"]
    own_code.cache_clear()
    said = changed_code(tmp_path, package)
    assert f"sources {began} then" in said
    assert f"sources {own_code(package)['sources']} now" in said


@needs_git
def test_another_commit_of_the_same_code_is_no_change(checkout, tmp_path):
    begin(tmp_path, own_code(checkout))
    (checkout.parent / "README").write_text("words")
    git(checkout.parent, "add", ".")
    git(checkout.parent, "commit", "-m", "two", "--no-gpg-sign")
    own_code.cache_clear()
    assert own_code(checkout)["commit"] != codes_of(tmp_path)[0]["commit"]
    assert changed_code(tmp_path, checkout) == ""


@needs_git
def test_a_run_of_an_earlier_version_is_compared_by_its_commit(checkout, tmp_path):
    now = own_code(checkout)["commit"]
    for commit, said in ((now, False), ("f" * 40, True)):
        start = {"commit": {"id": commit, "dirty": False}}
        (tmp_path / "environment.json").write_text(json.dumps([start]))
        assert bool(changed_code(tmp_path, checkout)) is said
    for start in ({}, {"commit": None}):
        (tmp_path / "environment.json").write_text(json.dumps([start]))
        assert changed_code(tmp_path, checkout) == ""


def test_the_changes_are_kept_once_for_each_code(tmp_path, monkeypatch):
    from lm_jax.runs import environment

    made = iter(["diff of one", "diff of two"])
    monkeypatch.setattr(environment, "changes", lambda: next(made))
    for sources in ("one", "one", "two"):
        code = {"sources": sources, "commit": "c", "dirty": True}
        monkeypatch.setattr(environment, "own_code", lambda code=code: code)
        record_environment(tmp_path)
    starts = json.loads((tmp_path / "environment.json").read_text())
    kept = [start.get("changes") for start in starts]
    assert kept == ["diff of one", None, "diff of two"]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "environment.json").write_text("{")
    with pytest.raises(UserError, match="environment.json is damaged"):
        changed_code(tmp_path)
