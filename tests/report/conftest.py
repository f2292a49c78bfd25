"""Reports are of runs in a folder that each test has for itself."""

import pytest

from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
