"""A small run, and a server of it."""

import os
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from lm_jax import train
from lm_jax.__main__ import main
from lm_jax.data import RatedPairs
from lm_jax.evaluation import Likelihood
from lm_jax.experiment import Experiment
from lm_jax.models import BagOfVectors, BiEncoder
from lm_jax.objectives import CosineSimilarity
from lm_jax.optimizers import AdamW
from lm_jax.schedules import Constant
from lm_jax.text import Corpus
from lm_jax.tokenizers import Words
from tests.data.test_pairs import write_pairs
from tests.tiny import write_tiny


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """A trained run that reads 64 characters."""
    folder = tmp_path_factory.mktemp("served")
    write_tiny(folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        sized = ["--data.context", "64", "--budget", "40 steps"]
        sized += ["--evaluations.likelihood.every", "40 steps"]
        sized += ["--schedule.peak", "3e-2"]
        assert main(["train", "tiny.py", "--run", "run", *sized]) == 0
    finally:
        os.chdir(here)
    return folder / "run"


@pytest.fixture(scope="package")
def opened(run):
    """The run, to be asked."""
    from lm_jax.serving.opening import open_model

    return open_model(run)


@pytest.fixture(scope="package")
def parts(opened):
    """What is compiled for it."""
    from lm_jax.serving.embedding import Embedder
    from lm_jax.serving.programs import Programs

    return Programs(opened.fitted, 8), Embedder(opened.fitted)


@pytest.fixture(scope="package")
def single(opened):
    """The same, for one answer at a time."""
    from lm_jax.serving.programs import Programs

    return Programs(opened.fitted, 1)


@pytest.fixture(scope="package")
def pairs_run(tmp_path_factory):
    """A run that gives vectors of texts, of queries other ones than of passages."""
    folder = tmp_path_factory.mktemp("vectors")
    write_pairs(folder / "pairs.jsonl")
    corpus = Corpus(str(folder / "pairs.jsonl"), "one")
    lengths, scale = (8, 16), (0.0, 2.0)
    experiment = Experiment(
        data=RatedPairs(corpus, Words(), "how", scale, lengths, "two"),
        model=BiEncoder(BagOfVectors(6), towers="apart"),
        objective=CosineSimilarity(),
        optimizer=AdamW(),
        schedule=Constant(1e-2),
        batch=16,
        budget="2 steps",
        evaluations={"likelihood": Likelihood("2 steps")},
        outputs=(),
    )
    train(experiment, folder / "run")
    return folder / "run"


@pytest.fixture(scope="package")
def served(opened, parts):
    """Start a server: ``with served(limits, key=...) as (server, engine)``."""
    pytest.importorskip("starlette", reason="needs the extra `serve`")
    pytest.importorskip("uvicorn", reason="needs the extra `serve`")
    from lm_jax.report.serving import LOOPBACK
    from lm_jax.serving.app import Paths, WritingPaths, make_app
    from lm_jax.serving.asked import Limits
    from lm_jax.serving.engine import Engine
    from lm_jax.serving.opening import Writer
    from lm_jax.serving.server import Server, listen

    @contextmanager
    def start(
        limits=Limits(),
        key=None,
        model=None,
        port=0,
        grace=5.0,
        of=opened,
        embedder=parts[1],
    ):
        if isinstance(of, Writer):
            engine = Engine(model or parts[0], of.tokenizer, limits.queue)
            paths = WritingPaths(of, engine, embedder, limits)
        else:
            engine, paths = None, Paths(of, embedder, limits)
        app = make_app(paths, LOOPBACK, key)
        with (
            listen(LOOPBACK, port) as taken,
            engine or nullcontext(),
            Server(app, taken, limits, grace) as server,
        ):
            yield server, engine

    return start
