"""What all processes of a run must have alike before its first step."""

from importlib.metadata import PackageNotFoundError

import jaxlib
import pytest

from lm_jax.experiment import load
from lm_jax.training import beginning as module
from lm_jax.training.beginning import beginning, compilers
from lm_jax.training.setup import set_up
from tests.tiny import write_tiny

FLAGS = "--xla_b=2 --xla_a=1"


def test_a_process_is_known_by_what_compiles_its_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path)
    found = beginning(set_up(load("tiny.py").experiment))
    assert found.items() >= compilers().items()
    assert compilers()["jaxlib"] == jaxlib.__version__


@pytest.mark.parametrize("name", ["XLA_FLAGS", "LIBTPU_INIT_ARGS"])
def test_other_flags_of_a_compiler_are_another_beginning(monkeypatch, name):
    monkeypatch.setenv(name, FLAGS)
    first = compilers()
    for other in ("--xla_b=2", "--xla_b=2 --xla_a=0", f"{FLAGS} --xla_a=0", ""):
        monkeypatch.setenv(name, other)
        differ = {n for n, value in compilers().items() if first[n] != value}
        assert differ == {name}, other
    monkeypatch.delenv(name)
    assert compilers()[name] == "none"


@pytest.mark.parametrize(
    "same",
    [
        "--xla_a=1   --xla_b=2",
        f"{FLAGS} --xla_force_host_platform_device_count=4",  # of each its own share
        f"--xla_dump_to=/tmp/of_process_1 {FLAGS} --xla_dump_hlo_as_text",
    ],
)
def test_what_a_process_may_have_of_its_own_among_the_flags(monkeypatch, same):
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    first = compilers()
    monkeypatch.setenv("XLA_FLAGS", same)
    assert compilers() == first


def test_the_compiler_of_tpus_counts_where_there_is_one(monkeypatch):
    def version(package):
        if not there:
            raise PackageNotFoundError(package)
        return there

    monkeypatch.setattr(module, "version", version)
    there = "0.0.52"
    assert compilers()["libtpu"] == there
    there = ""
    assert "libtpu" not in compilers()
