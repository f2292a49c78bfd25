import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lm_jax import platform
from lm_jax.errors import UserError
from lm_jax.platform import called

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

    # Of 64 MB, in pages of 2 MB at best.
    assert faults("kept") < 10 < faults("plain")


HOLES = """
import ctypes, threading, time
from lm_jax import platform

platform._keep_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
large, small = (library.malloc(size) for size in (2**26, 2**10))
ctypes.memset(large, 1, 2**26)
before = platform.held_memory()
threading.Timer(0.2, library.free, [large]).start()
platform.give_back_memory(2**26)
print(before - platform.held_memory())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator alone")
def test_what_is_kept_is_handed_back_though_it_is_freed_a_little_later():
    """A hole below what is still in use, too."""
    done = in_fresh_process(HOLES, JAX_PLATFORMS="cpu")
    assert 0.9 * 2**26 < int(done.stdout) < 1.5 * 2**26


@pytest.mark.parametrize(
    ("platforms", "plugin", "here"),
    [("cpu", True, True), ("cuda,cpu", False, False), ("", True, False)]
    + [("", False, True)],
)
def test_memory_is_kept_where_the_cpu_computes(platforms, plugin, here, monkeypatch):
    """A compiler for a GPU takes twice as long with it."""
    kept = []
    monkeypatch.setattr(platform, "_keep_memory", lambda: kept.append(True))
    monkeypatch.setattr(platform, "find_spec", lambda name: plugin or None)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256")
    platform.configure()
    assert bool(kept) == here


@pytest.mark.parametrize(
    ("installed", "variables", "tpu", "found"),
    [
        ("libtpu", {}, False, "cpu"),
        ("libtpu", {"TPU_SKIP_MDS_QUERY": "1"}, False, "cpu"),
        ("libtpu", {"JAX_PLATFORMS": "tpu,cpu"}, False, "tpu,cpu"),
        ("libtpu", {"TPU_WORKER_ID": "0"}, False, ""),
        ("libtpu", {}, True, ""),
        ("libtpu jax_plugins", {}, False, ""),
        ("", {}, False, ""),
    ],
)
def test_no_tpu_is_looked_for_where_libtpu_only_compiles(
    installed, variables, tpu, found, monkeypatch
):
    """As after `LM_JAX_EXTRAS=tpu ./launch.sh plan`, in one .venv for all commands."""
    kept = []
    monkeypatch.setattr(platform, "_keep_memory", lambda: kept.append(True))
    monkeypatch.setattr(platform, "find_spec", lambda n: n in installed.split() or None)
    monkeypatch.setattr(platform, "has_tpu", lambda: tpu)
    for name in [name for name in os.environ if name.startswith("TPU_")]:
        monkeypatch.delenv(name)
    for name, value in {"JAX_PLATFORMS": "", **variables}.items():
        monkeypatch.setenv(name, value)
    platform.configure()
    assert os.environ["JAX_PLATFORMS"] == found
    assert bool(kept) == (found == "cpu" or not installed)


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({}, False),
        ({"dev/accel0": ""}, True),
        ({"dev/vfio/0": ""}, False),
        ({"dev/vfio/0": "", "a/vendor": "0x1ae0\n", "a/class": "0x120000\n"}, True),
        ({"dev/vfio/0": "", "a/vendor": "0x10de\n", "a/class": "0x030200\n"}, False),
        ({"dev/vfio/0": "", "a/vendor": "0x1ae0\n", "a/class": "0x020000\n"}, False),
        ({"a/vendor": "0x1ae0\n", "a/class": "0x120000\n"}, False),
    ],
)
def test_a_tpu_is_a_device_that_can_be_opened(files, there, tmp_path):
    """Of Google's, and no network card."""
    for name, text in files.items():
        path = name if name.startswith("dev") else f"sys/bus/pci/devices/{name}"
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert platform.has_tpu(tmp_path) == there


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


def test_a_cache_that_cannot_be_written_is_no_warning():
    from lm_jax.platform import configure

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        configure()
        where = "persistent compilation cache entry for 'jit_f'"
        warnings.warn(f"Error writing {where}: OSError: [Errno 28]", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    assert [str(each.message) for each in found] == ["another"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_default_prng_impl", "rbg"),
        ("jax_threefry_partitionable", False),
        ("jax_random_seed_offset", 7),
    ],
)
def test_settings_that_make_other_numbers_of_a_seed_are_refused(name, value):
    """As many have them in the shell's profile of a TPU, for speed."""
    import jax

    from lm_jax.platform import configure

    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        with pytest.raises(UserError, match=f"{name} is {value!r} .{name.upper()}.:"):
            configure()
    finally:
        jax.config.update(name, before)
    configure()


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


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("JAX_NUM_CPU_DEVICES", "abc", "none of the values that jax takes"),
        ("JAX_ENABLE_X64", "maybe", "none of the values that jax takes"),
        ("JAX_DEFAULT_MATMUL_PRECISION", "fp32", "none of the values that jax takes"),
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64=0"),
    ],
)
@pytest.mark.parametrize("command", ["train", "doctor"])
def test_a_variable_that_jax_cannot_take_is_one_sentence(name, value, words, command):
    arguments = ["doctor"] if command == "doctor" else ["train", "tiny.py"]
    code = f"from lm_jax.__main__ import main; raise SystemExit(main({arguments}))"
    done = in_fresh_process(code, **{name: value})
    assert done.returncode == (1 if command == "doctor" else 2)
    said = " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in said and words in said and name in said
    assert "Remove .venv" not in said


START = "from lm_jax.platform import configure, devices; configure(); devices()"


@pytest.mark.parametrize("platforms", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_one_sentence(platforms, monkeypatch):
    def fail():
        raise AssertionError if platforms == "cuda" else RuntimeError("Unable to\nmore")

    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr("jax.devices", fail)
    with pytest.raises(UserError) as caught:
        platform.devices()
    said = str(caught.value)
    assert f"JAX_PLATFORMS={platforms}" in said and "JAX_PLATFORMS=cpu" in said
    assert "more" not in said


def test_jax_itself_finds_no_such_device():
    code = f"""
from lm_jax import platform
from lm_jax.errors import UserError
try:
    {START.replace("; ", chr(10) + "    ")}
except UserError as error:
    print(error)
"""
    done = in_fresh_process(code, JAX_PLATFORMS="nonsense")
    assert "jax finds no device with JAX_PLATFORMS=nonsense" in done.stdout


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 4)
    with pytest.raises(UserError, match=r"4 processes.*Start one"):
        platform.devices()


@pytest.mark.parametrize(
    ("by", "name", "said"),
    [
        ("/far/launch.sh", "/x/lm_jax/__main__.py", "/far/launch.sh"),
        ("a b/launch.sh", "/x/lm_jax/__main__.py", "'a b/launch.sh'"),
        ("", "/x/lm_jax/__main__.py", "python -m lm_jax"),
        ("", "/x/bin/lm_jax", "lm_jax"),
        ("", "/x/my_own.py", "python -m lm_jax"),
    ],
)
def test_hints_begin_as_the_program_was_called(monkeypatch, by, name, said):
    monkeypatch.setenv("LM_JAX_CALLED", by)
    monkeypatch.setattr("sys.argv", [name, "train"])
    assert called() == said
