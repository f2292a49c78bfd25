import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys
import numpy as np
from lm_jax.platform import configure
if sys.argv[1] == "kept":
    configure()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(min(faults() for _ in range(3)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator alone")
def test_what_is_freed_is_kept_for_the_next_step():
    def faults(how):
        root = str(Path(__file__).parent.parent)
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            env=os.environ | {"PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert faults("kept") < 100 < faults("plain")


@pytest.mark.parametrize(
    ("platforms", "plugin", "here"),
    [("cpu", True, True), ("cuda,cpu", False, False), ("", True, False)]
    + [("", False, True)],
)
def test_memory_is_kept_where_the_cpu_computes(platforms, plugin, here, monkeypatch):
    """A compiler for a GPU takes twice as long with it."""
    from lm_jax import platform

    kept = []
    monkeypatch.setattr(platform, "_keep_memory", lambda: kept.append(True))
    monkeypatch.setattr(platform, "find_spec", lambda name: plugin or None)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256")
    platform.configure()
    assert bool(kept) == here


def test_flags_are_added_once_and_the_users_own_are_kept(monkeypatch):
    from lm_jax.platform import configure

    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256")
    configure()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_prefer_vector_width=256"
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    configure()
    configure()
    flags = os.environ["XLA_FLAGS"].split()
    assert flags == ["--xla_dump_to=x", "--xla_cpu_prefer_vector_width=512"]


def in_fresh_process(code, **variables):
    """What a line of Python prints, with variables of the environment."""
    root = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": root} | variables,
        capture_output=True,
        text=True,
    )


SAY = (
    "from lm_jax.platform import configure, precision_of; configure(); import jax;"
    "print(jax.config.jax_default_matmul_precision, precision_of('float32'),"
    " precision_of('tf32'), precision_of('bfloat16'))"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "highest highest high highest"),
        ({"JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"}, " ".join(["bfloat16"] * 4)),
        ({"JAX_DEFAULT_MATMUL_PRECISION": "highest"}, " ".join(["highest"] * 4)),
    ],
)
def test_products_are_as_precise_as_their_type_unless_the_user_says(variables, said):
    assert in_fresh_process(SAY, **variables).stdout.strip() == said
