"""Parameters that begin as what was learnt elsewhere, and those that stay."""

import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.data.vectors import write_vectors
from lm_jax.errors import UserError
from lm_jax.experiment import FromRun, InitialVectors, load, save
from lm_jax.experiment.overrides import override
from lm_jax.runs.learnt import There
from lm_jax.runs.metrics import read_metrics
from lm_jax.runs.model import load_model
from lm_jax.selectors import path_name
from lm_jax.tokenizers import Characters
from lm_jax.tokenizers.characters import CharacterTokenizer
from lm_jax.training.initial import find_start, from_learnt
from lm_jax.training.setup import set_up
from tests.properties import slow_but
from tests.tiny import write_tiny


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 16)).astype(np.float32)
    write_vectors(tmp_path / "v.txt", ["t", "h", "elsewhere"], vectors)
    return vectors


def first_embeddings(**changes):
    from dataclasses import replace

    experiment = load("tiny.py").experiment
    both = experiment, replace(experiment, **changes)
    setups = [set_up(one) for one in both]
    tables = [jax.device_get(s.first_state().params["embedding"]) for s in setups]
    return setups[0].data.tokenizer, *tables


def test_known_tokens_begin_as_their_vectors_and_no_other_changes(in_folder):
    tokenizer, plain, given = first_embeddings(initial=InitialVectors("v.txt"))
    t, h = tokenizer.encode("th")
    np.testing.assert_array_equal(given[[t, h]], in_folder[:2])
    others = np.setdiff1d(np.arange(len(plain)), [t, h])
    np.testing.assert_array_equal(given[others], plain[others])


def test_a_word_that_comes_again_begins_as_its_first_vector():
    Path("v.txt").write_text("t 1 2\nh 3 4\nt 5 6\n")
    shape = jax.ShapeDtypeStruct((5, 2), np.float32)
    tokenizer = Characters().train(["the c"])
    start = find_start(InitialVectors("v.txt"), tokenizer, {"embedding": shape})
    ids = tokenizer.encode("ht").tolist()
    order = np.argsort(ids)
    np.testing.assert_array_equal(start.arrays["ids"], np.sort(ids))
    vectors = np.array([[3, 4], [1, 2]])[order]
    np.testing.assert_array_equal(start.arrays["vectors"], vectors)
    assert "1 of 3 lines of v.txt repeat a word, such as 't'" in start.table[0][1]


@pytest.mark.slow
def test_frozen_vectors_stay(in_folder):
    args = ["--initial", "InitialVectors", "--initial.path", "v.txt", "--run", "run"]
    frozen = ["--frozen", "^embedding$", "True", ".*", "False"]
    assert main(["train", "tiny.py", *args, *frozen]) == 0
    Path("v.txt").unlink()  # A trained model needs it no more.

    fitted = load_model(Path("run"), 12)
    ids = fitted.tokenizer.encode("th")
    table = jax.device_get(fitted.params["embedding"])
    np.testing.assert_array_equal(table[ids], in_folder[:2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["none.txt"], "no vectors at none.txt"),
        (["v.txt", "--model.width", "8"], "vectors of 16 numbers"),
        (["v.txt", "--initial.parameter", "table"], "has no 'table'"),
    ],
)
def test_what_does_not_fit_is_refused(change, said, capsys):
    args = ["--initial", "InitialVectors", "--initial.path"]
    assert main(["train", "tiny.py", *args, *change, "--run", "run"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that others begin from, trained once."""
    folder, here = tmp_path_factory.mktemp("source"), Path.cwd()
    write_tiny(folder)
    os.chdir(folder)
    try:
        assert main(["train", "tiny.py", "--run", "source", "--budget", "4 steps"]) == 0
    finally:
        os.chdir(here)
    return folder / "source"


@pytest.fixture
def source(trained, in_folder):
    """The parameters of a run in "source", which others begin from."""
    shutil.copytree(trained, "source")
    return load_model(Path("source")).params


def begin(*args, run="next", average="None"):
    more = ["--average", average, "--budget", "3 steps", "--run", run]
    return main(["train", "tiny.py", "--from", "source", *more, *args])


def paths(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): np.asarray(leaf) for path, leaf in leaves}


def first_parameters(*args):
    experiment = override(load("tiny.py").experiment, list(args), "train")
    return paths(set_up(experiment).first_state().params)


@pytest.mark.slow
def test_a_run_begins_with_the_parameters_of_another(source, capsys):
    taken = first_parameters("--initial", "FromRun", "--initial.run", "source")
    there = paths(source)
    assert taken.keys() == there.keys()
    for path, array in taken.items():
        np.testing.assert_array_equal(array, there[path])
    # Killed while it saved its first checkpoint: it begins as it began.
    begun = ["--initial", "FromRun", "--initial.run", "source", "--average", "None"]
    experiment = load("tiny.py").experiment
    experiment = override(experiment, [*begun, "--budget", "3 steps"], "train")
    Path("next/checkpoints/3.orbax-checkpoint-tmp").mkdir(parents=True)
    for name, content in save(experiment).items():
        Path("next", name).write_bytes(content)
    assert begin() == 0
    assert "block_0/down/kernel" in capsys.readouterr().out
    drawn, taken = (
        read_metrics(Path(run) / "metrics.jsonl")[0]["loss"]
        for run in ("source", "next")
    )
    assert taken < drawn
    shutil.rmtree("source")  # A run that was begun needs it no more.
    assert begin() == 0
    assert begin(run="other") == 2
    assert "source" in capsys.readouterr().err and not Path("other").exists()


@pytest.mark.slow
def test_what_differs_is_named_or_refused(source, capsys):
    deeper = ["--model.layers", "2", "--model.tied", "False"]
    assert begin(*deeper) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "block_1/up/kernel: the run has none" in said and "lm_head/kernel" in said
    assert not Path("next").exists()
    assert begin(*deeper, "--initial.new", "block_1", "lm_hed") == 2
    assert "'lm_hed' in initial.new matches no" in capsys.readouterr().err
    assert begin(*deeper, "--initial.new", "block_1", "lm_head") == 0


@pytest.mark.slow
def test_parameters_are_renamed_resized_and_dropped(source):
    there = paths(source)
    args = ["--initial", "FromRun", "--initial.run", "source"]
    wide = first_parameters(
        *args,
        *("--model.feedforward.ratio", "6", "--initial.resized", "(up|down)/kernel"),
        *("--model.positions", "Rotary", "--initial.dropped", "positions"),
        *("--model.norm-at", "both"),
        *("--initial.renamed", "feedforward_norm", "feedforward_after"),
        *("--initial.new", "feedforward_norm", "attention_after"),
    )
    up = there["block_0/up/kernel"]
    np.testing.assert_array_equal(wide["block_0/up/kernel"][:, : up.shape[1]], up)
    assert wide["block_0/up/kernel"].shape[1] == 6 * 16
    assert (wide["block_0/up/kernel"][:, up.shape[1] :] != 0).any()
    np.testing.assert_array_equal(
        wide["block_0/feedforward_after/scale"], there["block_0/feedforward_norm/scale"]
    )
    assert "positions/embedding" not in wide


@pytest.mark.slow
def test_rows_of_other_tokens_are_not_taken(source, capsys):
    Path("text.txt").write_text(Path("text.txt").read_text().replace("moon", "xylo"))
    assert begin() == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "embedding: has a row for each token" in said
    assert begin("--initial.new", "^embedding") == 0


def test_rows_of_other_tokens_are_not_taken_into_a_tower():
    table = {"query_tower": {"embedding": np.zeros((3, 2), np.float32)}}
    old, new = (CharacterTokenizer(text, False, False) for text in ("abc", "xyz"))
    there = There("run", Path("source"), 0, None, table, old)
    with pytest.raises(UserError, match="query_tower/embedding: has a row for each"):
        from_learnt(FromRun("source"), there, new, table)
    start = from_learnt(FromRun("source"), there, old, table)
    assert start.arrays.keys() == {"query_tower/embedding"}


@pytest.mark.parametrize("head", ["class_head", "token_head", "lm_head"])
def test_a_head_of_other_labels_is_not_taken(head):
    """Of as many labels it has the same shape, and tells other things apart."""
    tokenizer = CharacterTokenizer("abc", False, False)
    body, kernel = np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float32)
    params = {"embedding": body, head: {"kernel": kernel}}
    there = There("run", Path("r"), 0, None, params, tokenizer, ("neg", "pos"))

    def begun(labels, **named):
        initial = FromRun(run="r", **named)
        return from_learnt(initial, there, tokenizer, params, labels).arrays

    assert begun(("neg", "pos")).keys() == {"embedding", f"{head}/kernel"}
    with pytest.raises(UserError, match=f"{head}/kernel: has a .* others: neg, pos"):
        begun(("no", "yes"))
    assert begun(("no", "yes"), new=(f"^{head}/",)).keys() == {"embedding"}
    tokenizer = CharacterTokenizer("xyz", False, False)  # the labels are the same
    assert begun(("neg", "pos"), new=("^embedding",)).keys() == {f"{head}/kernel"}
    tokenizer = there.tokenizer
    params = {"embedding": body, head: {"kernel": np.zeros((2, 3), np.float32)}}
    resized = {"resized": (f"^{head}/",)}
    assert len(begun(("neg", "pos", "mixed"), **resized)) == 2
    with pytest.raises(UserError, match="a column for each label"):
        begun(("bad", "fine", "good"), **resized)


@pytest.mark.parametrize(
    "average", slow_but(["MovingAverage", "None"], "MovingAverage")
)
def test_what_is_frozen_stays_and_has_no_state(source, average):
    """Bit for bit; and clipping is as if it did not exist."""
    frozen = ["--frozen", "^embedding$|up/", "True", ".*", "False"]
    assert begin(*frozen, average=average) == 0
    there, here = paths(source), paths(load_model(Path("next")).params)
    for path, array in here.items():
        same = path == "embedding" or "up/" in path
        assert (array == there[path]).all() == same, path
    # A rate may name what is frozen: it is no mistake in writing.
    more = [*frozen, "--optimizer.rates", "^embedding$", "0.5", ".*", "1.0"]
    experiment = override(load("tiny.py").experiment, more, "train")
    shapes = set_up(experiment).shapes
    names = " ".join(paths(shapes.opt_state))
    assert "down/kernel" in names and "up/kernel" not in names
    assert "embedding" not in names.replace("positions/embedding", "")


@pytest.mark.slow
def test_frozen_parameters_have_no_share_in_the_clipped_norm(source):
    """The norm that is logged is of the trained gradients alone."""
    frozen = ["--frozen", "^embedding$", "True", ".*", "False"]
    assert begin(*frozen, run="a") == 0 and begin(run="b") == 0
    a, b = (read_metrics(Path(run, "metrics.jsonl"))[0] for run in "ab")
    assert a["loss"] == b["loss"] and 0 < a["grad_norm"] < b["grad_norm"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--frozen", "^embeding$", "True", ".*", "False"], "Did you mean 'embedding'"),
        (["--frozen", ".*", "True"], "leaves no parameter"),
        (["--optimizer.rates", "down", "0.0", ".*", "1.0"], "frozen=(('down', True)"),
    ],
)
def test_what_cannot_be_frozen_is_refused(args, said, capsys):
    assert main(["train", "tiny.py", *args, "--run", "run"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()
