"""Runs that find documents are trained, indexed and searched, by their commands."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.mesh import make_mesh
from lm_jax.retrieval import build_index, embed, open_index
from lm_jax.runs.model import load_model
from lm_jax.runs.result import read_result
from lm_jax.sharding import Sharding
from lm_jax.text.collection import Passage
from tests.retrieval import DOCUMENTS, write_collection

pytest.importorskip("bm25s")
pytest.importorskip("pytrec_eval")
pytestmark = pytest.mark.slow
EXPERIMENT = '''"""Finds things by their colours.

Run:     ./launch.sh train finds.py
Expect:  nothing
Source:  none
"""

from dataclasses import replace

from lm_jax.counting import BM25
from lm_jax.data import Passages
from lm_jax.evaluation import Likelihood, Ranking
from lm_jax.experiment import CountExperiment, Experiment
from lm_jax.models import BagOfVectors, BiEncoder
from lm_jax.objectives import InfoNCE
from lm_jax.optimizers import AdamW
from lm_jax.schedules import Constant
from lm_jax.text import Collection
from lm_jax.tokenizers import Words

ranking = {"ranking": Ranking(every="8 epochs")}
experiment = Experiment(
    data=Passages(Collection("things"), Words(), 8, (8, 16), titles=True),
    model=BiEncoder(BagOfVectors(16)),
    objective=InfoNCE(0.1),
    optimizer=AdamW(),
    schedule=Constant(3e-2),
    batch=8,
    budget="8 epochs",
    evaluations=ranking | {"in_batch": Likelihood()},
    watch="ranking",
)
bm25 = CountExperiment(
    Passages(Collection("things"), Words()), BM25(), ranking, watch="ranking"
)
variants = {"bm25": bm25}
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs and their indexes, made once."""
    folder, here = tmp_path_factory.mktemp("finds"), Path.cwd()
    write_collection(folder / "things")
    (folder / "finds.py").write_text(EXPERIMENT)
    os.chdir(folder)
    try:
        for name, run in (("", "dense"), (":bm25", "terms")):
            assert main(["train", f"finds.py{name}", "--run", run]) == 0
            assert main(["index", run, "things", "--out", f"{run}_index"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def folder(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def said(capsys, args, code=0):
    capsys.readouterr()
    assert main(args) == code
    printed = capsys.readouterr()
    wide = [line for line in printed.out.splitlines() if len(line) > 80]
    assert "--json" in args or not wide
    return printed.out if not code else " ".join(printed.err.split())


def scores_of(run, evaluation="ranking"):
    found = read_result(Path(run))["scores"]
    return next(e["scores"] for e in found if e["evaluation"] == evaluation)


@pytest.mark.parametrize("run", ["dense", "terms"])
def test_an_index_finds_what_the_run_was_scored_by(run, folder, capsys):
    args = ["search", f"{run}_index", "--collection", "things", "--json"]
    found = json.loads(said(capsys, args))["scores"]["scores"]
    assert found == pytest.approx(scores_of(run))
    assert found["ndcg@10"] > 0.8  # of 24 documents


@pytest.mark.parametrize("run", ["dense", "terms"])
def test_search_shows_the_documents_that_answer(run, folder, capsys):
    args = ["search", f"{run}_index", "which blue bird is it", "--depth", "3"]
    rows = json.loads(said(capsys, [*args, "--json"]))["documents"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert "blue bird" in [row["title"] for row in rows]
    assert {row["id"] for row in rows} < {document[0] for document in DOCUMENTS}
    table = said(capsys, args)
    assert all(f"{row['id']}: {row['title']}" in table for row in rows)
    if run == "terms":
        assert "Nothing is found" in said(capsys, ["search", "terms_index", "zebra"])


@pytest.mark.parametrize("run", ["dense", "terms"])
def test_documents_are_read_once(run, folder, tmp_path):
    """Whoever adds to them meanwhile shifts no vector to another document."""
    once = (Passage(*document) for document in DOCUMENTS)
    mesh = make_mesh(Sharding(), jax.devices())
    index = build_index(load_model(run), Path(run), once, tmp_path / "new", mesh)
    assert index.about["documents"] == len(DOCUMENTS)
    for name in ("vectors.bin",) if run == "dense" else ("bm25.npz", "tokenizer.json"):
        made = (index.folder / name).read_bytes()
        assert made == (Path(f"{run}_index") / name).read_bytes()


def test_python_has_the_vectors_of_the_index(folder):
    model, index = load_model("dense"), open_index(Path("dense_index"))
    texts = [f"{title} {text}".strip() for _, title, text in DOCUMENTS]
    np.testing.assert_array_equal(embed(model, texts), index.vectors)
    queries = embed(model, ["which blue bird is it"], "query")
    best = np.argsort(-(queries @ index.vectors.T)[0], kind="stable")[:3]
    mesh = make_mesh(Sharding(), jax.devices())
    found, _ = index.search(["which blue bird is it"], 3, mesh, model)
    assert [index.ids[k] for k in best] == [index.ids[k] for k in found[0]]
    with pytest.raises(UserError, match="embed"):
        model.features(["a bird"])
    with pytest.raises(UserError, match="no vectors of texts"):
        embed(load_model("terms"), ["a bird"])
    with pytest.raises(UserError, match="no text"):
        embed(model, [])


def test_two_indexes_are_fused_and_the_weight_tuned(folder, capsys):
    args = ["search", "terms_index", "--other", "dense_index", "--json"]
    args += ["--collection", "things", "--split", "test", "--tune", "validation"]
    found = json.loads(said(capsys, [*args, "--write", "run.trec"]))
    alone = found["scores"]
    assert 0 <= found["weight"] <= 1
    assert {"the first alone", "the second alone", "weight 0.5"} <= {*alone}
    lines = Path("run.trec").read_text().splitlines()
    assert lines[0].split()[:2] == ["qd20", "Q0"] and len(lines) >= 4
    mined = ["--data.negatives", "run.trec", "--data.hard", "1"]
    where = ["--split", "train", "--write", "run.trec"]
    said(capsys, ["search", "terms_index", "--collection", "things", *where])
    few = ["--budget", "2 steps", "--run", "hard"]
    assert "17 pairs of training have 1 hard" in " ".join(
        said(capsys, ["show", "finds.py", *mined]).split()
    )
    assert main(["train", "finds.py", *mined, *few]) == 0


def test_rounded_vectors_take_half_the_room(folder, capsys):
    args = ["index", "dense", "things/corpus.jsonl", "--out", "half"]
    said(capsys, [*args, "--dtype", "float16"])
    whole, half = open_index(Path("dense_index")), open_index(Path("half"))
    assert half.vectors.nbytes * 2 == whole.vectors.nbytes
    np.testing.assert_allclose(half.vectors, whole.vectors, atol=1e-3)
    assert half.document(7) == whole.document(7)


def test_a_model_is_scored_on_another_collection(folder, capsys):
    shutil.copytree("things", "same", dirs_exist_ok=True)
    args = ["evaluate", "dense", "--corpus", "same", "--json"]
    assert json.loads(said(capsys, args))["scores"] == pytest.approx(scores_of("dense"))
    refused = said(capsys, ["evaluate", "terms", "--corpus", "same"], 2)
    assert "BM25 has weighed the terms of its own documents" in refused
    refused = said(capsys, ["evaluate", "dense", "--corpus", "stsb"], 2)
    assert "import it again with --corpus stsb" in refused


def test_an_index_of_another_run_is_refused(folder, capsys):
    said(capsys, ["train", "finds.py", "--run", "other", "--seed", "1"])
    refused = said(capsys, ["search", "dense_index", "bird", "--run", "other"], 2)
    assert "dense_index is not an index of other, step " in refused


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["search", "dense_index"], "give a query, quoted, or --collection"),
        (["search", "nowhere", "bird"], "There is no index in nowhere"),
        (["search", "terms_index", "bird", "--run", "dense"], "leave out --run."),
        (["search", "dense_index", "a", "--tune", "train"], "give --other and"),
        (["search", "dense_index", "a", "--write", "f"], "queries of a --collection"),
        (["search", "dense_index", "a", "--weight", "0.3"], "choose it: give --other."),
        (["search", "dense_index", "a", "--depth", "0"], "depth"),
        (["index", "dense", "things"], "--out: give the directory"),
        (["index", "dense", "things", "--out", "terms_index"], "is there already"),
        (["index", "dense", "nothing", "--out", "new"], "no folder or collection"),
        (["train", "finds.py", "--accumulate", "2"], "objective.negatives lets rows"),
        (["train", "finds.py:bm25", "--model", "NGram"], "NGram counts in a Token"),
        (["evaluate", "dense", "--items"], "none has a score alone"),
        (["evaluate", "dense", "--predictions", "p.tsv"], "tells nothing of an exam"),
        (["generate", "terms"], "ranks documents: it doesn't continue text"),
    ],
)
def test_what_can_not_be_is_refused(args, words, folder, capsys):
    assert words in said(capsys, args, 2)
    assert not Path("new").exists()


def test_an_index_of_other_documents_or_cut_short_is_refused(folder, capsys):
    corpus = Path("things/corpus.jsonl").read_text().splitlines(keepends=True)
    Path("less.jsonl").write_text("".join(corpus[:9]))
    said(capsys, ["index", "terms", "less.jsonl", "--out", "less"])
    refused = said(capsys, ["search", "less", "bird", "--other", "dense_index"], 2)
    assert "indexes of other documents (9 and 24)" in refused
    refused = said(capsys, ["search", "less", "--collection", "things"], 2)
    assert "less has 9 documents, and the collection 24" in refused
    shutil.copytree("dense_index", "short")
    with open("short/vectors.bin", "rb+") as file:
        file.truncate(100)
    assert "it has 100 bytes" in said(capsys, ["search", "short", "bird"], 2)
