"""Bodies without heads: models of sentences, and bodies of what is trained here."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.stats import pearsonr, spearmanr

from lm_jax.__main__ import main
from lm_jax.errors import UserError
from lm_jax.exchange import body_of, import_checkpoint
from lm_jax.files import write_json
from lm_jax.models import Classifier, First, Last, Max, Mean
from lm_jax.retrieval import embed
from lm_jax.runs.model import load_model
from tests.exchange.made import MODELS, write_bert_tokenizer, write_model
from tests.retrieval import write_collection

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model of sentences, as sentence-transformers keeps it; and a collection."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "bert", MODELS["bert"], pooler=True)
    write_bert_tokenizer(tmp_path / "bert")
    path = tmp_path / "bert/model.safetensors"
    arrays = load_file(path).items()
    # As BertModel names them, which has no head.
    body = {k.removeprefix("bert."): x for k, x in arrays if k.startswith("bert.")}
    save_file(body, path)
    pools(tmp_path / "bert", pooling_mode_mean_tokens=True)
    write_json(tmp_path / "bert/modules.json", MODULES)
    write_json(tmp_path / "bert/sentence_bert_config.json", {"max_seq_length": 8})
    write_collection(tmp_path / "c")
    return tmp_path / "bert"


def pools(folder, **said):
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(folder / "1_Pooling/config.json", said)


def test_a_folder_of_sentence_transformers_finds_documents(folder, capsys):
    assert main(["import", "bert", "--run", "runs/bert", "--corpus", "c"]) == 0
    said = capsys.readouterr().out
    assert "BiEncoder" in said and "the pooler" in said
    loaded = load_model("runs/bert")
    assert loaded.context == loaded.experiment.data.lengths[-1] == 8
    # The mean of the body's vectors of [CLS] the cat [SEP], of length 1.
    tokens = jnp.array([[2, *loaded.tokenizer.encode("the cat"), 3]])
    body = body_of("bert").filled(loaded.model.vocab_size, 64)
    hidden, _ = body.apply({"params": loaded.params}, tokens, method="features")
    mean = hidden[0].mean(0)
    found = loaded.model.apply({"params": loaded.params}, tokens)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), rtol=1e-5)
    assert main(["index", "runs/bert", "c", "--out", "found"]) == 0
    assert main(["search", "found", "the cat"]) == 0


def test_a_folder_of_sentence_transformers_is_scored_on_rated_pairs(
    folder, tmp_path, monkeypatch, capsys
):
    """By the cosines of the vectors that `embed` gives each text alone."""
    (tmp_path / "data/stsb").mkdir(parents=True)
    words = ["the", "cat", "sees", "a", "mouse", "and", "dog"]
    pairs = [
        (" ".join(words[: 1 + k % 6]), " ".join(words[k % 5 :]), k % 6)
        for k in range(12)
    ]
    text = "".join(f"{one},{two},{rating}\n" for one, two, rating in pairs)
    for split in ("train", "dev", "test"):
        (tmp_path / f"data/stsb/stsb-en-{split}.csv").write_text(text)
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path / "data"))
    assert main(["import", "bert", "--run", "run", "--corpus", "stsb"]) == 0
    asked = ["evaluate", "run", "--split", "test", "--predictions", "p.jsonl"]
    assert main([*asked, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    model = load_model("run")
    one, two = (embed(model, [pair[k] for pair in pairs]) for k in (0, 1))
    cosines, ratings = (one * two).sum(1), [pair[2] for pair in pairs]
    rows = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([r["predicted"] for r in rows], cosines, atol=1e-6)
    np.testing.assert_allclose([r["value"] for r in rows], np.array(ratings) / 5)
    assert scores["spearman"] == pytest.approx(
        spearmanr(ratings, cosines).statistic, rel=1e-4
    )
    assert scores["pearson"] == pytest.approx(
        pearsonr(ratings, cosines).statistic, rel=1e-4
    )
    assert main(["inspect", "run", "--text", "the cat"]) == 2
    assert "compares the vectors of two texts" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main(["index", "run", "c", "--out", "found"]) == 0
    assert main(["search", "found", "the cat"]) == 0


@pytest.mark.parametrize(
    "said, pool",
    [
        ({"pooling_mode_cls_token": True}, First()),
        ({"pooling_mode_max_tokens": True}, Max()),
        ({"pooling_mode": "lasttoken"}, Last()),
        ({"pooling_mode": "mean", "pooling_mode_cls_token": False}, Mean()),
    ],
)
def test_it_pools_as_there(folder, said, pool):
    pools(folder, **said)
    write_json(folder / "modules.json", MODULES[:2])
    settings = {"similarity_fn_name": "dot", "prompts": {"query": "ask: ", "doc": ""}}
    write_json(folder / "config_sentence_transformers.json", settings)
    found = import_checkpoint(folder, "run").checkpoint
    assert found.model.pool == pool and found.model.similarity == "product"
    assert "the prompt 'ask: ' before a query" in found.notes[-2]


def modules(folder):
    write_json(folder / "modules.json", [*MODULES, {"path": "3", "type": "x.Dense"}])


@pytest.mark.parametrize(
    "change, said",
    [
        (modules, "has a module Dense, and ours have a body"),
        (lambda f: (f / "modules.json").write_text("{"), "modules.json can't be read"),
        (lambda f: (f / "modules.json").write_text("[1]"), "modules.json can't be"),
        (lambda f: pools(f), "pools by what is not said, and ours by one of mean"),
        (
            lambda f: pools(
                f, pooling_mode_mean_tokens=True, pooling_mode_cls_token=True
            ),
            "pools by mean and cls",
        ),
        (
            lambda f: pools(f, pooling_mode_mean_sqrt_len_tokens=True),
            "pools by mean_sqrt_len_tokens, and",
        ),
        (lambda f: (f / "modules.json").unlink(), "has a body alone"),
        (
            lambda f: write_json(
                f / "config_sentence_transformers.json",
                {"similarity_fn_name": "euclidean"},
            ),
            "compares vectors by euclidean",
        ),
    ],
)
def test_what_ours_are_not_is_refused(folder, change, said, tmp_path):
    change(folder)
    with pytest.raises(UserError) as refused:
        import_checkpoint(folder, "run")
    assert said in str(refused.value) and not (tmp_path / "run").exists()


CLASSIFIER = """
from lm_jax.data import Labelled
from lm_jax.evaluation import Likelihood
from lm_jax.exchange import body_of
from lm_jax.experiment import Experiment, FromHuggingFace
from lm_jax.models import Classifier
from lm_jax.objectives import Classify
from lm_jax.optimizers import AdamW
from lm_jax.schedules import Constant
from lm_jax.text import Corpus
from lm_jax.tokenizers import Pretrained

experiment = Experiment(
    data=Labelled(Corpus("table.jsonl"), Pretrained("bert"), lengths=(8,)),
    model=Classifier(body_of("bert")),
    objective=Classify(),
    optimizer=AdamW(),
    schedule=Constant(1e-3),
    batch=8,
    budget="2 steps",
    evaluations={"likelihood": Likelihood("2 steps")},
    initial=FromHuggingFace(
        path="bert",
        new=("class_head",),
        dropped=("pooler",),
        resized=("^embedding$",),
    ),
)
"""


@pytest.mark.slow
def test_a_classifier_begins_with_the_body(folder, tmp_path, capsys):
    rows = (
        {"text": f"the cat {'abcdefgh'[k % 8]} {k}", "label": "xy"[k % 2]}
        for k in range(60)
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "table.jsonl").write_text(lines)
    (tmp_path / "own.py").write_text(CLASSIFIER)
    assert main(["train", "own.py", "--run", "run", "--schedule.peak", "1e-9"]) == 0
    trained = load_model("run").params
    there = load_file(folder / "model.safetensors")["encoder.layer.0.output.dense.bias"]
    np.testing.assert_allclose(trained["block_0"]["down"]["bias"], there, atol=1e-6)
    assert isinstance(load_model("run").model, Classifier)
    text = ["--text", "the cat sees the mouse"]
    assert main(["inspect", "run", *text]) == 0
    said = capsys.readouterr().out
    assert "cat" in said
