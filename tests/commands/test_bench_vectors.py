"""The bench of word vectors reads text8 as it comes, and prints rows that align."""

import gzip

import numpy as np
import pytest

from lm_jax.commands import bench_vectors
from lm_jax.commands.bench_vectors import SCORES, Options, Vectors, main, recipes
from lm_jax.errors import UserError


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """A folder of corpora whose text8 is a stand-in."""
    for name in ("text8", "wordvectors"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("LM_JAX_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["text8", "text8.prefix.gz"])
def test_rows_align_whatever_form_the_text_has(corpora, name, monkeypatch, capsys):
    opened = gzip.open if name.endswith(".gz") else open
    with opened(corpora / "text8" / name, "wt") as file:
        file.write("one two " * 150_000)
    texts = []

    def sides(recipe, text, cache, subsample):
        texts.append(text.read_text())
        yield "lm_jax", lambda seed: Vectors(["one"], np.zeros((1, 2)), 1.0)

    monkeypatch.setattr(bench_vectors, "_sides", sides)
    monkeypatch.setattr(
        bench_vectors, "word_scores", lambda *_: dict.fromkeys(SCORES.values(), 0.5)
    )
    main(["--megabytes", "1", "--seeds", "1", "--trees"])
    assert texts == ["one two " * 125_000] * 5
    said = capsys.readouterr().out.split("\n\n")
    assert said[0].startswith("250,000 words of text8, 2 different")
    rows = said[1].splitlines()
    assert rows[-1].startswith("GloVe, window 10  lm_jax ")
    assert len(rows) == 6 and len({len(row) for row in rows}) == 1


def test_a_folder_without_the_text(corpora):
    with pytest.raises(UserError, match="text8 has no files"):
        main(["--megabytes", "1"])


def test_glove_looks_twice_as_far():
    windows = {name: r.data.window for name, r in recipes(Options(), "t", 9).items()}
    assert windows == {"skip-gram": 5, "CBOW": 5, "GloVe, window 10": 10}
