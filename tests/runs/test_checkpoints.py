"""A checkpoint is what was written, file for file, or it is refused by name."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_jax.errors import UserError
from lm_jax.runs.checkpoints import Checkpoints, _LastAndBest
from lm_jax.runs.sealed import DIGESTS, verify
from tests.properties import quick

PARAMS = {
    "params": {"kernel": jnp.arange(12.0).reshape(3, 4)},
    "average": {"kernel": -jnp.arange(12.0).reshape(3, 4)},
}
REST = {"step": jnp.asarray(3), "moments": jnp.ones((3, 4))}
# Orbax's own notes, which it ends after the digests are made: nobody reads them.
NOTES = {"_CHECKPOINT_METADATA", "commit_success.txt"}


def like(tree):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=leaf.sharding
        ),
        tree,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, PARAMS, REST, {"best": 3, "seconds": 1.5}, 3)
    checkpoints.close()
    return folder


@pytest.fixture
def folder(written, tmp_path):
    shutil.copytree(written, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / "3"


def test_what_lost_its_digests_stays_damaged_when_more_is_saved(folder):
    (folder / DIGESTS).unlink()
    checkpoints = Checkpoints(folder.parent)
    checkpoints.save(4, PARAMS, REST, {"best": 4}, 4)
    checkpoints.close()
    verify(folder.parent / "4")
    assert not (folder / DIGESTS).exists()


def files_of(folder):
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_file_has_its_digest(folder):
    digests = json.loads((folder / DIGESTS).read_text())
    assert set(files_of(folder)) - set(digests) == {DIGESTS, *NOTES}


def damaged(content):
    """The ways in which a file can be another: a bit, its end, more, nothing."""
    middle = len(content) // 2
    yield content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    yield content[:-1]
    yield content + b"\n"
    yield b""


def test_no_change_of_any_file_goes_unnoticed(folder):
    verify(folder)
    for name, path in files_of(folder).items():
        content = path.read_bytes()
        for other in damaged(content):
            path.write_bytes(other)
            if name in NOTES or (name == DIGESTS and other.strip() == content):
                verify(folder)
                continue
            with pytest.raises(UserError, match=None if name == DIGESTS else name):
                verify(folder)
        path.unlink()
        if name not in NOTES:
            with pytest.raises(UserError, match=name):
                verify(folder)
        path.write_bytes(content)
    verify(folder)


def test_what_is_read_is_checked_and_what_is_not_must_be_there(folder):
    for name, path in files_of(folder).items():
        if not name.startswith("rest/"):
            continue
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        verify(folder, ("params",))
        path.unlink()
        with pytest.raises(UserError, match="lacks the file rest/"):
            verify(folder, ("params",))
        path.write_bytes(content)


def test_all_comes_back_and_the_average_is_what_is_used(folder):
    checkpoints = Checkpoints(folder.parent)
    found, progress = checkpoints.restore(3, like({**PARAMS, "rest": REST}))
    jax.tree.map(np.testing.assert_array_equal, found, {**PARAMS, "rest": REST})
    assert progress == {"best": 3, "seconds": 1.5}
    used = checkpoints.restore_params(3)
    np.testing.assert_array_equal(used["kernel"], PARAMS["average"]["kernel"])
    plain = checkpoints.read_params(3, like(PARAMS["params"]))
    np.testing.assert_array_equal(plain["kernel"], PARAMS["params"]["kernel"])


def kept(policy, steps):
    infos = [SimpleNamespace(step=step) for step in steps]
    marks = policy.should_preserve(infos, context=None)
    return [step for step, mark in zip(steps, marks, strict=True) if mark]


@pytest.mark.parametrize(
    ("last", "every", "averaged", "best", "expected"),
    [
        (1, 1, 0, None, [20]),
        (2, 1, 0, 4, [4, 17, 20]),
        (1, 4, 2, 8, [8, 16, 20]),
        (1, 4, 3, None, [12, 16, 20]),
        (9, 4, 0, None, [4, 8, 12, 16, 17, 20]),
        (1, 4, 9, None, [4, 8, 12, 16, 20]),
    ],
)
def test_the_last_the_best_and_those_that_are_averaged_are_kept(
    last, every, averaged, best, expected
):
    policy = _LastAndBest(Path("none"), last, every, averaged)
    policy.best = (best,)
    assert kept(policy, [4, 8, 12, 16, 17, 20]) == expected


@quick
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 12), st.integers(1, 30))
def test_what_will_be_averaged_is_there_at_each_step(last, every, averaged, end):
    policy, there = _LastAndBest(Path("none"), last, every, averaged), []
    for step in range(1, end + 1):
        there = kept(policy, [*there, step])
        spaced = [earlier for earlier in range(1, step + 1) if earlier % every == 0]
        assert set(spaced[::-1][:averaged]) <= set(there)
        assert step in there and len(there) <= last + averaged


def test_the_best_is_chosen_and_what_is_not_there_refused(folder):
    checkpoints = Checkpoints(folder.parent, keep=1)
    checkpoints.save(5, PARAMS, REST, {"best": 3}, 3)
    checkpoints.wait()
    assert checkpoints.steps() == [3, 5]
    assert checkpoints.choose() == 3 and checkpoints.choose(5) == 5
    with pytest.raises(UserError, match=r"steps \[3, 5\], none of 4"):
        checkpoints.choose(4)
    checkpoints.close()


def test_the_first_step_that_is_asked_for_is_not_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (0, 2):
        checkpoints.save(step, PARAMS, REST, {"best": 2}, step)
    checkpoints.wait()
    assert checkpoints.choose(0) == 0 and checkpoints.choose() == 2
    checkpoints.close()


@pytest.mark.parametrize("name", ["lr [0.1]", "s*t", "seed?", "[ab]/run"])
def test_a_name_that_is_a_pattern_is_refused_before_anything_is_written(name, tmp_path):
    checkpoints = Checkpoints(tmp_path / name / "checkpoints")
    with pytest.raises(UserError, match="is a pattern"):
        checkpoints.save(1, PARAMS, REST, {"best": 1}, 1)
    assert checkpoints.steps() == []
    checkpoints.close()


@pytest.mark.parametrize("name", ["open[", "empty[] {1} ö!"])
def test_what_is_saved_below_any_other_name_can_be_read(name, tmp_path):
    checkpoints = Checkpoints(tmp_path / name / "checkpoints")
    checkpoints.save(1, PARAMS, REST, {"best": 1}, 1)
    checkpoints.wait()
    leaves = jax.tree.leaves(checkpoints.restore_params(1))
    assert all(map(np.array_equal, leaves, jax.tree.leaves(PARAMS["average"])))
    checkpoints.close()
